"""``SHOW MOVES``: slots in motion, and how many clients are held for them."""

from shardrouter.proxy.admin.show_census import show_of

COMMAND = show_of("moves", "slots on their way to another shard, and clients held for them")
