"""Talking to one Postgres node: connections, probes, guards."""

from shardrouter.postgres.ask import Answer, Asked, WaitReady
from shardrouter.postgres.backend import POSITION_SQL, AsyncBackend, Backend, read_position
from shardrouter.postgres.columns import ColumnFacts, TableFacts, key_columns, read_table
from shardrouter.postgres.direct import direct_connection
from shardrouter.postgres.guard import (
    has_foreign_rows,
    install_guards,
    lock_installers,
    sharded_tables,
    write_guards,
)
from shardrouter.postgres.guard_check import GuardReport, GuardState, check_guards
from shardrouter.postgres.guard_sql import Guard, guard_sql, in_slots_sql, table_sql
from shardrouter.postgres.inspect import NodeFacts, inspect_node
from shardrouter.postgres.locks import PATIENCE, Patience, Sleep, run_with_locks
from shardrouter.postgres.prepared import (
    BranchOutcome,
    BranchStatus,
    branch_status,
    delete_markers,
    install_markers,
    is_marked,
    list_prepared,
    prepare_branch,
    settle_branch,
    xact_status,
)
from shardrouter.postgres.probe import REPLAY_SQL, Probe, probe, replay_position
from shardrouter.postgres.replica_identity import ensure_identity, identity_sql
from shardrouter.postgres.schema_dump import dump_schema, version_tables
from shardrouter.postgres.single_statements import autocommit
from shardrouter.postgres.table_copy import (
    Relation,
    TableDigest,
    copy_table,
    fire_no_triggers,
    nobody_writes,
    table_digest,
)
from shardrouter.postgres.url import sqlalchemy_url
from shardrouter.postgres.verbatim import run_verbatim
from shardrouter.postgres.watchdog import answers_within

__all__ = [
    "PATIENCE",
    "POSITION_SQL",
    "REPLAY_SQL",
    "Answer",
    "Asked",
    "AsyncBackend",
    "Backend",
    "BranchOutcome",
    "BranchStatus",
    "ColumnFacts",
    "Guard",
    "GuardReport",
    "GuardState",
    "NodeFacts",
    "Patience",
    "Probe",
    "Relation",
    "Sleep",
    "TableDigest",
    "TableFacts",
    "WaitReady",
    "answers_within",
    "autocommit",
    "branch_status",
    "check_guards",
    "copy_table",
    "delete_markers",
    "direct_connection",
    "dump_schema",
    "ensure_identity",
    "fire_no_triggers",
    "guard_sql",
    "has_foreign_rows",
    "identity_sql",
    "in_slots_sql",
    "inspect_node",
    "install_guards",
    "install_markers",
    "is_marked",
    "key_columns",
    "list_prepared",
    "lock_installers",
    "nobody_writes",
    "prepare_branch",
    "probe",
    "read_position",
    "read_table",
    "replay_position",
    "run_verbatim",
    "run_with_locks",
    "settle_branch",
    "sharded_tables",
    "sqlalchemy_url",
    "table_digest",
    "table_sql",
    "version_tables",
    "write_guards",
    "xact_status",
]
