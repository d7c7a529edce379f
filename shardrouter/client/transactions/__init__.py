"""Units of work over several shards, committed in two phases."""
