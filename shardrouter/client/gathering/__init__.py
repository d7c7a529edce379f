"""Questions to all shards, answered as one Postgres would."""
