"""Loops and procedures that carry decisions out."""

from shardrouter.control.background import Background
from shardrouter.control.monitor import Monitor
from shardrouter.control.tasks import spawn, supervised
from shardrouter.control.thread import ControlThread
from shardrouter.control.topology_keeper import TopologyKeeper

__all__ = [
    "Background",
    "ControlThread",
    "Monitor",
    "TopologyKeeper",
    "spawn",
    "supervised",
]
