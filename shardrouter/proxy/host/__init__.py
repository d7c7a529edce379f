"""The machine under the proxy: sockets, locks, limits, its run directory."""
