"""``SHOW BACKENDS``: our connections to the nodes."""

from shardrouter.proxy.admin.show_census import show_of

COMMAND = show_of("backends", "connections to the nodes")
