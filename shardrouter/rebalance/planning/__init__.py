"""What to move where, and what it will cost."""
