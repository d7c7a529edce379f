"""Loops and procedures that carry decisions out."""

from typing import TYPE_CHECKING

from shardrouter.lazy import lazy_names

if TYPE_CHECKING:
    from shardrouter.control.admission import examine_shard
    from shardrouter.control.background import Background
    from shardrouter.control.drain import Drain, DrainCheck
    from shardrouter.control.in_doubt import (
        Resolution,
        carry_out,
        clean_once,
        decide_due,
        is_due,
        resolve_once,
    )
    from shardrouter.control.in_doubt_by_hand import (
        Finding,
        close_repaired,
        decide_by_hand,
        inspect_transactions,
        next_step,
    )
    from shardrouter.control.lease import lease_clock
    from shardrouter.control.load_report import LoadReport
    from shardrouter.control.migrate import (
        DEFAULT_CONCURRENCY,
        DEFAULT_TIMEOUT_SECONDS,
        Migration,
        MigrationAction,
        MigrationState,
        ShardReport,
    )
    from shardrouter.control.monitor import Monitor
    from shardrouter.control.prepare_shard import (
        Preparation,
        PreparationTools,
        Prepared,
        missing_tables,
    )
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
    "Drain",
    "DrainCheck",
    "Finding",
    "LoadReport",
    "Migration",
    "MigrationAction",
    "MigrationState",
    "Monitor",
    "Preparation",
    "PreparationTools",
    "Prepared",
    "Resolution",
    "ShardReport",
    "TopologyKeeper",
    "carry_out",
    "check_table",
    "clean_once",
    "close_repaired",
    "decide_by_hand",
    "decide_due",
    "describe_table",
    "drained",
    "examine_shard",
    "guard_table",
    "inspect_transactions",
    "is_due",
    "lease_clock",
    "missing_tables",
    "next_step",
    "resolve_once",
    "spawn",
    "supervised",
    "with_shard",
    "with_table",
    "without_shard",
]

__getattr__ = lazy_names(
    __name__,
    {
        "shardrouter.control.admission": ("examine_shard",),
        "shardrouter.control.background": ("Background",),
        "shardrouter.control.drain": (
            "Drain",
            "DrainCheck",
        ),
        "shardrouter.control.in_doubt": (
            "Resolution",
            "carry_out",
            "clean_once",
            "decide_due",
            "is_due",
            "resolve_once",
        ),
        "shardrouter.control.in_doubt_by_hand": (
            "Finding",
            "close_repaired",
            "decide_by_hand",
            "inspect_transactions",
            "next_step",
        ),
        "shardrouter.control.lease": ("lease_clock",),
        "shardrouter.control.load_report": ("LoadReport",),
        "shardrouter.control.migrate": (
            "DEFAULT_CONCURRENCY",
            "DEFAULT_TIMEOUT_SECONDS",
            "Migration",
            "MigrationAction",
            "MigrationState",
            "ShardReport",
        ),
        "shardrouter.control.monitor": ("Monitor",),
        "shardrouter.control.prepare_shard": (
            "Preparation",
            "PreparationTools",
            "Prepared",
            "missing_tables",
        ),
        "shardrouter.control.shards": (
            "drained",
            "with_shard",
            "without_shard",
        ),
        "shardrouter.control.tables": (
            "check_table",
            "describe_table",
            "guard_table",
            "with_table",
        ),
        "shardrouter.control.tasks": (
            "spawn",
            "supervised",
        ),
        "shardrouter.control.thread": ("ControlThread",),
        "shardrouter.control.topology_keeper": ("TopologyKeeper",),
    },
)
