"""What must be so before a move begins."""
