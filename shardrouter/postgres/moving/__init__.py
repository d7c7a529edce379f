"""What a move does on a shard: streams, locks, markers, copies, comparisons, deletions.

Functions take a SQLAlchemy connection to the shard's primary. Those with ``move=, token=`` run
transactions of their own, which check the token; the connection has none open. All others work in
the caller's transaction, which calls ``check_token`` (or ``see_token``) first. Everything can be
repeated: making what stands and dropping what is gone are successes. ``on_shard`` turns what the
driver raises into our errors.
"""

from shardrouter.postgres.moving.delete import (
    FIRST_PLACE,
    Deleted,
    DeletePlace,
    cleaning_origin,
    delete_slots,
    drop_origin,
)
from shardrouter.postgres.moving.digest import (
    Chunk,
    digest_chunk,
    digest_range,
    hashes_of,
    row_hashes,
    show_rows,
)
from shardrouter.postgres.moving.fast_copy import Copied, CopyPart, OnBlock, copy_part, plan_copy
from shardrouter.postgres.moving.fingerprint import Fingerprint, differences, fingerprint
from shardrouter.postgres.moving.first_copies import (
    QUICK_COMMIT,
    SAFE_COMMIT,
    commit_quickly,
    copying_workers,
    finished_copies,
    missing_slots,
)
from shardrouter.postgres.moving.foreign_keys import ForeignKey, foreign_keys, orphans
from shardrouter.postgres.moving.limits import limit_waits, on_shard
from shardrouter.postgres.moving.markers import has_marker, write_marker
from shardrouter.postgres.moving.moved_rows import Key
from shardrouter.postgres.moving.names import artefact_name, cleaning_origin_name, session_name
from shardrouter.postgres.moving.pace import HOLDS_SECONDS, ROWS_BETWEEN, pace_sql, rest
from shardrouter.postgres.moving.publication import (
    create_publication,
    drop_publication,
    empty_publication,
    publication_sql,
    server_time,
    statements_since_before,
)
from shardrouter.postgres.moving.replication_slots import (
    SlotState,
    advance_slot,
    create_slot,
    drop_slot,
    drop_sync_slots,
    flush_wal,
    slot_state,
)
from shardrouter.postgres.moving.schema_lock import lock_schema, unlock_schema
from shardrouter.postgres.moving.schema_lock_sql import key_trigger_sql, truncate_trigger_sql
from shardrouter.postgres.moving.sequences import SequenceState, read_sequences, set_sequences
from shardrouter.postgres.moving.shard_facts import Rights, Room, ShardFacts, identity, shard_facts
from shardrouter.postgres.moving.slot_loads import (
    SlotLoad,
    analyze,
    count_rows,
    has_rows,
    slot_loads,
    table_loads,
)
from shardrouter.postgres.moving.slot_partitions import (
    empty_partition,
    holds_only,
    slot_partitions,
)
from shardrouter.postgres.moving.snapshot import (
    ExportedSnapshot,
    enter_snapshot,
    export_snapshot,
)
from shardrouter.postgres.moving.standbys import (
    StandbyPosition,
    standby_positions,
    wait_for_standbys,
)
from shardrouter.postgres.moving.subscription import (
    SubscriptionState,
    create_subscription,
    disable_subscription,
    drop_subscription,
    enable_subscription,
    subscription_sql,
    subscription_state,
)
from shardrouter.postgres.moving.table_columns import has_portable_types, moved_columns
from shardrouter.postgres.moving.tables import install_move_tables
from shardrouter.postgres.moving.token import (
    check_token,
    drop_token,
    end_other_sessions,
    give_token_back,
    see_token,
    take_token,
)
from shardrouter.postgres.moving.transactions import OpenTransaction, open_transactions
from shardrouter.postgres.moving.widen import widen_guards

__all__ = [
    "FIRST_PLACE",
    "HOLDS_SECONDS",
    "QUICK_COMMIT",
    "ROWS_BETWEEN",
    "SAFE_COMMIT",
    "Chunk",
    "Copied",
    "CopyPart",
    "DeletePlace",
    "Deleted",
    "ExportedSnapshot",
    "Fingerprint",
    "ForeignKey",
    "Key",
    "OnBlock",
    "OpenTransaction",
    "Rights",
    "Room",
    "SequenceState",
    "ShardFacts",
    "SlotLoad",
    "SlotState",
    "StandbyPosition",
    "SubscriptionState",
    "advance_slot",
    "analyze",
    "artefact_name",
    "check_token",
    "cleaning_origin",
    "cleaning_origin_name",
    "commit_quickly",
    "copy_part",
    "copying_workers",
    "count_rows",
    "create_publication",
    "create_slot",
    "create_subscription",
    "delete_slots",
    "differences",
    "digest_chunk",
    "digest_range",
    "disable_subscription",
    "drop_origin",
    "drop_publication",
    "drop_slot",
    "drop_subscription",
    "drop_sync_slots",
    "drop_token",
    "empty_partition",
    "empty_publication",
    "enable_subscription",
    "end_other_sessions",
    "enter_snapshot",
    "export_snapshot",
    "fingerprint",
    "finished_copies",
    "flush_wal",
    "foreign_keys",
    "give_token_back",
    "has_marker",
    "has_portable_types",
    "has_rows",
    "hashes_of",
    "holds_only",
    "identity",
    "install_move_tables",
    "key_trigger_sql",
    "limit_waits",
    "lock_schema",
    "missing_slots",
    "moved_columns",
    "on_shard",
    "open_transactions",
    "orphans",
    "pace_sql",
    "plan_copy",
    "publication_sql",
    "read_sequences",
    "rest",
    "row_hashes",
    "see_token",
    "server_time",
    "session_name",
    "set_sequences",
    "shard_facts",
    "show_rows",
    "slot_loads",
    "slot_partitions",
    "slot_state",
    "standby_positions",
    "statements_since_before",
    "subscription_sql",
    "subscription_state",
    "table_loads",
    "take_token",
    "truncate_trigger_sql",
    "unlock_schema",
    "wait_for_standbys",
    "widen_guards",
    "write_marker",
]
