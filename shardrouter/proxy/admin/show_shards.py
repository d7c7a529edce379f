"""``SHOW SHARDS``: the shards of the topology that is served."""

from shardrouter.proxy.admin.show_census import show_of

COMMAND = show_of("shards", "shards of the topology, with their slots")
