"""What a shard's primary says of itself that decides whether it can take part in a move."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, text

from shardrouter.postgres.moving.standbys import StandbyPosition, standby_positions
from shardrouter.postgres.moving.transactions import OpenTransaction, open_transactions

_PG_CREATE_SUBSCRIPTION_SINCE: Final = 160000  # before, only superusers make subscriptions


@dataclass(frozen=True, slots=True)
class Rights:
    """What the role of the connection may do."""

    is_superuser: bool
    may_subscribe: bool
    """It may make subscriptions in this database."""

    may_replicate: bool
    """It may make replication slots, and others may connect as it to read them."""

    may_publish: bool
    """It may make publications in this database (of tables that it owns)."""

    may_set_replication_role: bool
    """It may write copies past triggers, as fast copies and the deletion of copies do."""

    may_lock_ddl: bool
    """It may make event triggers."""


@dataclass(frozen=True, slots=True)
class Room:
    """How much of a limit of the server is set, and how much of that is free."""

    limit: int
    free: int


@dataclass(frozen=True, slots=True)
class ShardFacts:
    """What a primary said of itself."""

    version: int
    """``server_version_num``, for example 180006."""

    system_id: str
    timeline: int
    in_recovery: bool
    database: str
    encoding: str
    collation: str
    """Of the database: provider, locale and ctype in one word; with its version where known."""

    wal_level: str
    replication_slots: Room
    wal_senders: Room
    logical_workers: Room
    """Apply workers and those of first copies; also bounded by ``max_worker_processes``."""

    replication_origins: Room
    """Each subscription takes one, and each first copy that is under way."""

    sync_workers_per_subscription: int
    max_slot_wal_keep_bytes: int | None
    """The most WAL that a slot may keep back before it is lost; None: no limit."""

    role_statement_timeout_ms: int
    """What a new session of the role gets, 0 is none. First copies are subject to it."""

    rights: Rights
    synchronous_standby_names: str
    """Empty: commits wait for no standby."""

    database_bytes: int
    standbys: tuple[StandbyPosition, ...]
    long_transactions: tuple[OpenTransaction, ...]
    """Those that hold a transaction id, oldest first, ten at most; of all databases."""


def shard_facts(connection: Connection) -> ShardFacts:
    """Ask the primary, in the caller's transaction. Reads only."""
    row = connection.execute(_FACTS).one()
    has_role = row.version >= _PG_CREATE_SUBSCRIPTION_SINCE
    rights = connection.execute(_RIGHTS, {"may_anybody": has_role})
    return ShardFacts(
        version=row.version,
        system_id=row.system_id,
        timeline=row.timeline,
        in_recovery=row.in_recovery,
        database=row.database,
        encoding=row.encoding,
        collation=row.collation,
        wal_level=row.wal_level,
        replication_slots=_room(row.max_slots, row.used_slots),
        wal_senders=_room(row.max_senders, row.used_senders),
        logical_workers=_room(row.max_workers, row.used_workers),
        replication_origins=_room(row.max_origins, row.used_origins),
        sync_workers_per_subscription=row.sync_workers,
        max_slot_wal_keep_bytes=None if row.keep_mb < 0 else row.keep_mb << 20,
        role_statement_timeout_ms=row.statement_timeout_ms,
        rights=Rights(**rights.one()._mapping),
        synchronous_standby_names=row.synchronous_standby_names,
        database_bytes=row.database_bytes,
        standbys=tuple(standby_positions(connection)),
        long_transactions=open_transactions(connection),
    )


def identity(connection: Connection) -> tuple[str, int]:
    """Return system id and timeline of a primary: both stay until it is replaced or promoted."""
    row = connection.execute(_IDENTITY).one()
    return row.system_id, row.timeline


def _room(limit: int, used: int) -> Room:
    return Room(limit, max(0, limit - used))


_SYSTEM_ID: Final = "(SELECT system_identifier::text FROM pg_catalog.pg_control_system())"
# The file name tells the timeline that is written now; the control file that of the last
# checkpoint, which may be before a promotion.
_TIMELINE: Final = (
    "CASE WHEN pg_catalog.pg_is_in_recovery()"
    " THEN (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint())"
    " ELSE ('x' || pg_catalog.left(pg_catalog.pg_walfile_name("
    "pg_catalog.pg_current_wal_insert_lsn()), 8))::bit(32)::int END"
)
_IDENTITY: Final = text(f"SELECT {_SYSTEM_ID} AS system_id, {_TIMELINE} AS timeline")
_FACTS: Final = text(
    f"""
SELECT current_setting('server_version_num')::int AS version,
       {_SYSTEM_ID} AS system_id, {_TIMELINE} AS timeline,
       pg_catalog.pg_is_in_recovery() AS in_recovery,
       d.datname::text AS database,
       current_setting('server_encoding') AS encoding,
       concat_ws(' ', d.datlocprovider::text, d.datcollate, d.datctype, d.datcollversion)
         AS collation,
       current_setting('wal_level') AS wal_level,
       current_setting('max_replication_slots')::int AS max_slots,
       (SELECT count(*) FROM pg_catalog.pg_replication_slots) AS used_slots,
       current_setting('max_wal_senders')::int AS max_senders,
       (SELECT count(*) FROM pg_catalog.pg_stat_replication) AS used_senders,
       current_setting('max_logical_replication_workers')::int AS max_workers,
       (SELECT count(pid) FROM pg_catalog.pg_stat_subscription) AS used_workers,
       coalesce(current_setting('max_active_replication_origins', true),
                current_setting('max_replication_slots'))::int AS max_origins,
       (SELECT count(*) FROM pg_catalog.pg_replication_origin) AS used_origins,
       current_setting('max_sync_workers_per_subscription')::int AS sync_workers,
       (SELECT setting::bigint FROM pg_catalog.pg_settings
         WHERE name = 'max_slot_wal_keep_size') AS keep_mb,
       (SELECT reset_val::bigint FROM pg_catalog.pg_settings
         WHERE name = 'statement_timeout') AS statement_timeout_ms,
       current_setting('synchronous_standby_names') AS synchronous_standby_names,
       pg_catalog.pg_database_size(d.oid) AS database_bytes
  FROM pg_catalog.pg_database d
 WHERE d.datname = pg_catalog.current_database()
"""
)
# Managed services have no superusers for their customers: membership in a role of theirs gives the
# rights that the documentation of each grants to it. A role that is not there is nobody's.
_RIGHTS: Final = text(
    """
SELECT r.rolsuper AS is_superuser,
       r.rolsuper OR is_like_superuser OR (:may_anybody AND may_create AND CASE WHEN :may_anybody
         THEN pg_has_role((SELECT oid FROM pg_catalog.pg_roles
                            WHERE rolname = 'pg_create_subscription'), 'USAGE') END)
         AS may_subscribe,
       r.rolsuper OR r.rolreplication OR has_rds_replication AS may_replicate,
       may_create AS may_publish,
       pg_catalog.has_parameter_privilege('session_replication_role', 'SET')
         AS may_set_replication_role,
       r.rolsuper AS may_lock_ddl
  FROM pg_catalog.pg_roles r,
       pg_catalog.has_database_privilege(current_database(), 'CREATE') AS may_create,
       (SELECT coalesce(bool_or(rolname <> 'rds_replication'), false) AS is_like_superuser,
               coalesce(bool_or(rolname = 'rds_replication'), false) AS has_rds_replication
          FROM pg_catalog.pg_roles
         WHERE rolname
            IN ('rds_superuser', 'rds_replication', 'cloudsqlsuperuser', 'azure_pg_admin')
           AND pg_catalog.pg_has_role(oid, 'USAGE')) AS managed
 WHERE r.rolname = current_user
"""
)
