"""Moves of slots between live shards: what to move, what it costs, and how it is done."""
