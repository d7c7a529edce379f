"""``SHOW POOLS``: backends and waiters by node and user, all workers together."""

from shardrouter.proxy.admin.show_census import show_of

COMMAND = show_of("pools", "backends and waiting clients by node and user")
