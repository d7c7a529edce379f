"""First copies of a subscription, and what a crash of the subscriber does to them.

A worker of a first copy drops its replication slot on the publisher, and commits then that its
table is in step. A crash in between leaves a table that is copied and not in step, whose slot is
gone; when the commit is asynchronous, so does a crash a moment later. Postgres starts a worker for
ever that fails at once; it counts no error then, and ``disable_on_error`` does not see it.
(Seen on PostgreSQL 18; process_syncing_tables_for_sync.)
"""

from typing import Final

from sqlalchemy import Connection, text

from shardrouter.postgres.moving.limits import limit_waits
from shardrouter.postgres.verbatim import run_verbatim

SAFE_COMMIT: Final = "local"
"""``synchronous_commit`` of a subscription that makes first copies: none of it is taken back."""

QUICK_COMMIT: Final = "off"
"""And when they are over: what a crash takes back of the stream, the publisher sends again."""

_LOCK_SECONDS: Final = 10.0


def finished_copies(connection: Connection, name: str) -> dict[str, str]:
    """Return, on the subscriber, tables that are copied and not in step: slot name to table."""
    return {row.slot: row.name for row in connection.execute(_FINISHED, {"name": name})}


def missing_slots(connection: Connection, slots: list[str]) -> set[str]:
    """Return, on the publisher, which of these replication slots are not there."""
    return set(slots) - set(connection.execute(_STANDING, {"slots": slots}).scalars())


def copying_workers(connection: Connection, name: str) -> set[str]:
    """Return, on the subscriber, the slot names of first copies that have a worker now."""
    return set(connection.execute(_WORKERS, {"name": name}).scalars())


def commit_quickly(connection: Connection, name: str) -> bool:
    """Have the stream not wait for the disk any more, in the caller's transaction.

    No effect, and False, where it does not, or waits for standbys.
    """
    if connection.execute(_COMMIT, {"name": name}).scalar_one_or_none() != SAFE_COMMIT:
        return False
    limit_waits(connection, lock_seconds=_LOCK_SECONDS)
    quoted = connection.dialect.identifier_preparer.quote_identifier(name)
    run_verbatim(
        connection, f"ALTER SUBSCRIPTION {quoted} SET (synchronous_commit = {QUICK_COMMIT})"
    )
    return True


_OURS: Final = (
    "s.subname = :name AND s.subdbid = (SELECT oid FROM pg_catalog.pg_database"
    " WHERE datname = pg_catalog.current_database())"
)
_COMMIT: Final = text(f"SELECT s.subsynccommit FROM pg_catalog.pg_subscription s WHERE {_OURS}")
_WORKERS: Final = text(
    f"""
SELECT format('pg_%s_sync_%s_%s', s.oid, w.relid, control.system_identifier)
  FROM pg_catalog.pg_subscription s
  JOIN pg_catalog.pg_stat_subscription w
    ON w.subid = s.oid AND w.relid IS NOT NULL AND w.pid IS NOT NULL
 CROSS JOIN pg_catalog.pg_control_system() AS control
 WHERE {_OURS}
"""
)
_FINISHED: Final = text(
    f"""
SELECT format('pg_%s_sync_%s_%s', s.oid, r.srrelid, control.system_identifier) AS slot,
       n.nspname || '.' || c.relname AS name
  FROM pg_catalog.pg_subscription s
  JOIN pg_catalog.pg_subscription_rel r ON r.srsubid = s.oid AND r.srsubstate = 'f'
  JOIN pg_catalog.pg_class c ON c.oid = r.srrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 CROSS JOIN pg_catalog.pg_control_system() AS control
 WHERE {_OURS}
"""
)
_STANDING: Final = text(
    "SELECT slot_name::text FROM pg_catalog.pg_replication_slots"
    " WHERE slot_name = ANY (CAST(:slots AS text[]))"
)
