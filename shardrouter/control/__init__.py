"""Loops that carry decisions out: the topology keeper, the monitor, the resolver."""

from shardrouter.control.lease import LeaseClock, lease_clock
from shardrouter.control.tasks import spawn, supervised
from shardrouter.control.thread import ControlThread
from shardrouter.control.topology_keeper import TopologyKeeper

__all__ = [
    "ControlThread",
    "LeaseClock",
    "TopologyKeeper",
    "lease_clock",
    "spawn",
    "supervised",
]
