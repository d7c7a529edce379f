"""Who runs moves, takes them over, and tells of them."""
