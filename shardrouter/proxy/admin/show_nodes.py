"""``SHOW NODES``: roles, lag and reachability as the workers see them."""

from shardrouter.proxy.admin.show_census import show_of

COMMAND = show_of("nodes", "nodes: role, lag, and whether they are reached")
