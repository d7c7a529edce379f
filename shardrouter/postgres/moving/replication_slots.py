"""Logical replication slots of a move, on the shard that the stream comes from."""

import re
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, exc, text

from shardrouter.errors import LockTimeout, MoveError
from shardrouter.postgres.locks import Sleep
from shardrouter.postgres.moving.limits import has_timed_out, limit_waits, sqlstate_of
from shardrouter.postgres.moving.token import check_token, see_token
from shardrouter.postgres.moving.transactions import open_transactions
from shardrouter.postgres.single_statements import autocommit
from shardrouter.topology import parse_lsn

PLUGIN: Final = "pgoutput"
_FAILOVER_SINCE: Final = 170000  # server_version_num: slots that standbys keep copies of
_INVALIDATION_SINCE: Final = 170000
_DUPLICATE_OBJECT: Final = "42710"
_UNDEFINED_OBJECT: Final = "42704"
_IN_USE: Final = "55006"
_END_MS: Final = 5000
_DROP_ATTEMPTS: Final = 20
_DROP_PAUSE_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class SlotState:
    """What a server says of one of its replication slots. LSNs count bytes."""

    exists: bool
    active: bool = False
    """A walsender uses it now."""

    confirmed_flush: int | None = None
    """Everything before this LSN has safely arrived on the other side."""

    lag_bytes: int = 0
    """WAL that was written after ``confirmed_flush``; of all databases, filtered rows included."""

    retained_bytes: int = 0
    """WAL that the server keeps for the slot."""

    wal_status: str | None = None
    """reserved, extended, unreserved or lost."""

    invalidation: str | None = None
    """Why the slot can never be read again; None while it can."""

    failover: bool = False
    """Standbys may keep copies of it (Postgres 17 and later)."""


def create_slot(
    connection: Connection,
    name: str,
    *,
    move: int,
    token: int,
    failover: bool = True,
    wait_seconds: float = 60.0,
) -> int:
    """Make the slot, or find it made, in a transaction of its own; return its confirmed LSN.

    ``failover`` counts on Postgres 17 and later only. Postgres waits for all transactions of the
    server that hold a transaction id to end. Raises LockTimeout, naming them, after
    ``wait_seconds``; MoveTakenOver; MoveError when the server has no slot left.
    """
    with connection.begin():
        standing = slot_state(connection, name)
        has_failover = _version(connection) >= _FAILOVER_SINCE
    if standing.confirmed_flush is not None:
        return standing.confirmed_flush
    options = ", failover => true" if failover and has_failover else ""
    statement = text(
        "SELECT lsn::text FROM pg_catalog.pg_create_logical_replication_slot("
        f":name, '{PLUGIN}', temporary => false{options})"
    )
    try:
        with connection.begin():
            see_token(connection, move, token)
            limit_waits(connection, lock_seconds=wait_seconds, seconds=wait_seconds)
            return parse_lsn(connection.execute(statement, {"name": name}).scalar_one())
    except exc.DBAPIError as error:
        if sqlstate_of(error) == _DUPLICATE_OBJECT:
            raise _half_made(name) from error
        if not has_timed_out(error):
            raise
        raise _still_running(connection, name, wait_seconds) from error


def drop_slot(connection: Connection, name: str, *, move: int, token: int, sleep: Sleep) -> None:
    """End the slot's walsender and drop the slot; no effect when it is gone.

    The subscription that reads it was disabled or dropped before, or its server is down. Runs
    transactions of its own. Raises MoveTakenOver; MoveError when it is taken again and again.
    """
    for _ in range(_DROP_ATTEMPTS):
        try:
            with connection.begin():
                check_token(connection, move, token)
                connection.execute(_END_SENDER, {"name": name, "wait": _END_MS})
                connection.execute(_DROP, {"name": name})
            return
        except exc.DBAPIError as error:
            if sqlstate_of(error) == _UNDEFINED_OBJECT:
                return
            if sqlstate_of(error) != _IN_USE:
                raise
        sleep(_DROP_PAUSE_SECONDS)
    raise MoveError(
        f"the replication slot {name} stays in use",
        hint="disable the subscription of that name on the other shard first",
    )


def drop_sync_slots(connection: Connection, subscription: int, system_id: str) -> int:
    """Drop the slots that a subscription's first copies left here; return how many.

    subscription, system_id: its OID and its server's, from ``create_subscription`` and
    ``shard_facts``; Postgres names the slots by them. In the caller's transaction; the
    subscription does not exist any more.
    """
    pattern = f"^pg_{subscription:d}_sync_[0-9]+_{re.escape(system_id)}$"
    given = {"pattern": pattern, "wait": _END_MS}
    connection.execute(_END_SYNC_SENDERS, given)
    return len(connection.execute(_DROP_SYNC, given).all())


def advance_slot(connection: Connection, name: str, *, move: int, token: int) -> int:
    """Let the slot pass over all that is committed here by now; return its new LSN.

    Nothing reads the slot now. For the reverse stream, which must not bring back what the
    forward stream brought. Runs transactions of its own. Raises MoveTakenOver; MoveError when the
    slot is gone.
    """
    flushed = flush_wal(connection, move=move, token=token)
    with connection.begin():
        see_token(connection, move, token)
        row = connection.execute(_ADVANCE, {"name": name, "lsn": flushed}).one_or_none()
    if row is None:
        raise MoveError(
            f"the replication slot {name} is gone",
            hint="it was dropped, or lost in a failover: the stream cannot go on",
        )
    return parse_lsn(row.lsn)


def flush_wal(connection: Connection, *, move: int, token: int) -> int:
    """Write and flush the WAL of all that is committed here by now; return an LSN behind it.

    Apply workers commit without waiting for the disk, and neither a slot nor a standby passes
    what is not flushed. Runs transactions of its own. Raises MoveTakenOver.
    """
    with connection.begin():
        check_token(connection, move, token)
        connection.execute(_FLUSH)
    with autocommit(connection):
        return parse_lsn(connection.execute(_FLUSHED).scalar_one())


def slot_state(connection: Connection, name: str) -> SlotState:
    """Return what the server says of the slot; of one that is not there, only that."""
    failover = "false"
    if _version(connection) >= _INVALIDATION_SINCE:
        invalidation, failover = "s.invalidation_reason", "s.failover"
    else:
        invalidation = "CASE WHEN s.wal_status = 'lost' THEN 'wal_removed' END"
    statement = text(_STATE.format(invalidation=invalidation, failover=failover))
    row = connection.execute(statement, {"name": name}).one_or_none()
    return SlotState(exists=False) if row is None else _slot_state(row)


def _slot_state(row: Any) -> SlotState:
    return SlotState(
        exists=True,
        active=row.active,
        confirmed_flush=parse_lsn(row.confirmed) if row.confirmed else None,
        lag_bytes=row.lag_bytes or 0,
        retained_bytes=row.retained_bytes or 0,
        wal_status=row.wal_status,
        invalidation=row.invalidation,
        failover=row.failover,
    )


def _version(connection: Connection) -> int:
    return int(connection.execute(_VERSION).scalar_one())


def _half_made(name: str) -> MoveError:
    return MoveError(
        f"another session is making the replication slot {name}",
        hint="it is tried again; that session ends with the mover that it belongs to",
    )


def _still_running(connection: Connection, name: str, wait_seconds: float) -> LockTimeout:
    with connection.begin():
        running = open_transactions(connection)[:5]
    return LockTimeout(
        f"the replication slot {name} was not ready within {wait_seconds:g} s",
        hint="it waits for all open transactions of the server:"
        f" end {'; '.join(map(str, running)) or 'them'}",
    )


_VERSION: Final = text("SELECT current_setting('server_version_num')::int")
_END_SENDER: Final = text(
    "SELECT pg_catalog.pg_terminate_backend(active_pid, :wait)"
    "  FROM pg_catalog.pg_replication_slots"
    " WHERE slot_name = :name AND database = pg_catalog.current_database()"
    "   AND active_pid IS NOT NULL"
)
_DROP: Final = text("SELECT pg_catalog.pg_drop_replication_slot(:name)")
_SYNC_SLOTS: Final = (
    "  FROM pg_catalog.pg_replication_slots"
    " WHERE database = pg_catalog.current_database() AND slot_name ~ :pattern"
)
_END_SYNC_SENDERS: Final = text(
    "SELECT pg_catalog.pg_terminate_backend(active_pid, :wait)"
    f"{_SYNC_SLOTS} AND active_pid IS NOT NULL"
)
_DROP_SYNC: Final = text(
    f"SELECT pg_catalog.pg_drop_replication_slot(slot_name) {_SYNC_SLOTS} AND :wait > 0"
)
_ADVANCE: Final = text(
    """
SELECT greatest(confirmed_flush_lsn, CASE WHEN confirmed_flush_lsn < target
       THEN (SELECT end_lsn FROM pg_catalog.pg_replication_slot_advance(slot_name, target))
       END)::text AS lsn
  FROM pg_catalog.pg_replication_slots,
       (SELECT '0/0'::pg_lsn + CAST(:lsn AS numeric) AS target) AS wanted
 WHERE slot_name = :name
"""
)
# `local`: a standby that does not answer must not hold this up. The message makes it a
# transaction with something to flush; pgoutput does not send it on.
_FLUSH: Final = text(
    "SELECT pg_catalog.set_config('synchronous_commit', 'local', true),"
    " pg_catalog.pg_logical_emit_message(true, 'shardrouter', '')"
)
_FLUSHED: Final = text("SELECT pg_catalog.pg_current_wal_flush_lsn()::text")
_STATE: Final = """
SELECT s.active, s.confirmed_flush_lsn::text AS confirmed, s.wal_status,
       (pg_catalog.pg_current_wal_lsn() - s.confirmed_flush_lsn)::bigint AS lag_bytes,
       (pg_catalog.pg_current_wal_lsn() - s.restart_lsn)::bigint AS retained_bytes,
       {invalidation} AS invalidation, {failover} AS failover
  FROM pg_catalog.pg_replication_slots s
 WHERE s.slot_name = :name
"""
