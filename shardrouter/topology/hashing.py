"""Slot of a key: PostgreSQL's own hash-partition row hash, bit for bit."""
