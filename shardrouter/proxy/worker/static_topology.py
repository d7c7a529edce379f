"""A topology that only a reload of its file changes; stands in for the topology keeper."""

import math
from collections.abc import Callable

from shardrouter.topology import Topology

OnChange = Callable[[Topology], None]


class StaticTopology:
    """Holds the topology of ``proxy.topology_file``. Belongs to one event loop."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._watchers: list[OnChange] = []

    def current(self) -> Topology:
        """Return the topology to route by. Nobody can take it away: there is no lease."""
        return self._topology

    def on_change(self, callback: OnChange) -> None:
        """Have ``callback(topology)`` called after each change."""
        self._watchers.append(callback)

    def on_lease(self, callback: Callable[[float], None]) -> None:
        """Tell for how long the topology may be trusted: for ever."""
        callback(math.inf)

    def request_refresh(self) -> None:
        """Nothing newer exists than what the last reload brought."""

    def replace(self, topology: Topology) -> None:
        """Take the topology that a reload brought."""
        if topology == self._topology:
            return
        self._topology = topology
        for watcher in self._watchers:
            watcher(topology)
