"""Tables and their guards, made on every shard."""
