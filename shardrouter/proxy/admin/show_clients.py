"""``SHOW CLIENTS``: who is connected, and what each one does."""

from shardrouter.proxy.admin.show_census import show_of

COMMAND = show_of("clients", "clients of all workers, and what each one does")
