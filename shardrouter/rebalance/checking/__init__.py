"""The same rows on both sides, or not."""
