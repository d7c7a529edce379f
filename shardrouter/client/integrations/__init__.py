"""The library door inside other frameworks; each needs its extra (shardrouter[fastapi], ...)."""
