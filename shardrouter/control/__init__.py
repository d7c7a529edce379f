"""Loops and procedures that carry decisions out."""

from shardrouter.control.admission import examine_shard
from shardrouter.control.background import Background
from shardrouter.control.migrate import (
    DEFAULT_CONCURRENCY,
    DEFAULT_TIMEOUT_SECONDS,
    Migration,
    MigrationAction,
    MigrationState,
    ShardReport,
    migrate,
)
from shardrouter.control.monitor import Monitor
from shardrouter.control.shards import drained, with_shard, without_shard
from shardrouter.control.tables import check_table, describe_table, guard_table, with_table
from shardrouter.control.tasks import spawn, supervised
from shardrouter.control.thread import ControlThread
from shardrouter.control.topology_keeper import TopologyKeeper

__all__ = [
    "DEFAULT_CONCURRENCY",
    "DEFAULT_TIMEOUT_SECONDS",
    "Background",
    "ControlThread",
    "Migration",
    "MigrationAction",
    "MigrationState",
    "Monitor",
    "ShardReport",
    "TopologyKeeper",
    "check_table",
    "describe_table",
    "drained",
    "examine_shard",
    "guard_table",
    "migrate",
    "spawn",
    "supervised",
    "with_shard",
    "with_table",
    "without_shard",
]
