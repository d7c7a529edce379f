"""Loops and procedures that carry decisions out."""

from shardrouter.control.admission import examine_shard
from shardrouter.control.background import Background
from shardrouter.control.monitor import Monitor
from shardrouter.control.shards import drained, with_shard, without_shard
from shardrouter.control.tables import check_table, describe_table, guard_table, with_table
from shardrouter.control.tasks import spawn, supervised
from shardrouter.control.thread import ControlThread
from shardrouter.control.topology_keeper import TopologyKeeper

__all__ = [
    "Background",
    "ControlThread",
    "Monitor",
    "TopologyKeeper",
    "check_table",
    "describe_table",
    "drained",
    "examine_shard",
    "guard_table",
    "spawn",
    "supervised",
    "with_shard",
    "with_table",
    "without_shard",
]
