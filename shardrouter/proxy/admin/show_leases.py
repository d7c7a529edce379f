"""``SHOW LEASES``: how long each worker trusts its topology."""

from shardrouter.proxy.admin.show_census import show_of

COMMAND = show_of("leases", "how long each worker trusts its topology")
