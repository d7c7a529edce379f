"""The exported snapshot of a fast copy: the state of the source at which its stream begins."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql
from sqlalchemy import Connection, exc

from shardrouter.errors import LockTimeout, MoveError
from shardrouter.postgres.moving.limits import has_timed_out, sqlstate_of
from shardrouter.postgres.moving.transactions import OPEN_TRANSACTIONS_SQL, to_transactions
from shardrouter.postgres.verbatim import run_verbatim
from shardrouter.topology import parse_lsn

_FAILOVER_SINCE: Final = 170000  # server_version_num
_DUPLICATE_OBJECT: Final = "42710"
_CANCEL_SECONDS: Final = 5.0
_CONNECT: Final[dict[str, Any]] = {
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 5,
    # The session holds the snapshot and says nothing until the copy is over.
    "options": "-c idle_in_transaction_session_timeout=0 -c idle_session_timeout=0"
    " -c statement_timeout=0",
}


@dataclass(frozen=True, slots=True)
class ExportedSnapshot:
    """Usable while the block of ``export_snapshot`` runs and its session lives."""

    name: str
    lsn: int
    """What is committed before is in the snapshot; the slot sends what is committed behind."""

    session: psycopg.Connection[Any]

    def is_alive(self) -> bool:
        """False once its session is known to be gone; new sessions cannot enter it then."""
        return not self.session.closed


@contextmanager
def export_snapshot(
    dsn: str,
    slot_name: str,
    *,
    application_name: str,
    failover: bool = True,
    wait_seconds: float = 60.0,
) -> Iterator[ExportedSnapshot]:
    """Make the replication slot and export the snapshot it begins at, for the block.

    The slot stays (``drop_slot``), the snapshot ends with the block. ``failover`` counts on
    Postgres 17 and later only. Token: check it just before; the application_name gives the
    session away to ``end_other_sessions``. Raises LockTimeout naming the transactions it had to
    wait for; MoveError when the slot exists, for its snapshot is gone: make a new attempt.
    """
    options = {**_CONNECT, "application_name": application_name, "replication": "database"}
    with psycopg.connect(dsn, autocommit=True, **options) as session:
        row = _create(session, slot_name, failover, wait_seconds)
        yield ExportedSnapshot(str(row[2]), parse_lsn(row[1]), session)


def enter_snapshot(connection: Connection, name: str) -> None:
    """Begin a transaction that sees the snapshot; it ends with ``connection.rollback()``.

    The connection has no transaction open. Raises MoveError when the snapshot is gone.
    """
    run_verbatim(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    try:
        run_verbatim(
            connection, sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(name)).as_string()
        )
    except exc.DBAPIError as error:
        if sqlstate_of(error) not in ("22023", "42704"):
            raise
        connection.rollback()
        raise MoveError(
            f"the snapshot {name} of the copy is gone", hint="the copy begins anew by itself"
        ) from error


def _create(
    session: psycopg.Connection[Any], slot_name: str, failover: bool, wait_seconds: float
) -> tuple[Any, ...]:
    options = "SNAPSHOT 'export'"
    if failover and session.info.server_version >= _FAILOVER_SINCE:
        options += ", FAILOVER true"
    command = sql.SQL("CREATE_REPLICATION_SLOT {} LOGICAL pgoutput ({})").format(
        sql.Identifier(slot_name), sql.SQL(options)
    )
    # A walsender knows no statement_timeout for its commands.
    timer = threading.Timer(wait_seconds, session.cancel_safe, kwargs={"timeout": _CANCEL_SECONDS})
    timer.daemon = True
    timer.start()
    try:
        row = session.execute(command).fetchone()
    except psycopg.Error as error:
        raise _told(session, slot_name, wait_seconds, error) from error
    finally:
        timer.cancel()
        timer.join()
    assert row is not None  # the command answers with one row
    return tuple(row)


def _told(
    session: psycopg.Connection[Any], slot_name: str, wait_seconds: float, error: psycopg.Error
) -> Exception:
    if sqlstate_of(error) == _DUPLICATE_OBJECT:
        return MoveError(
            f"the replication slot {slot_name} exists, but its snapshot is gone",
            hint="the copy begins anew by itself, as another attempt",
        )
    if not has_timed_out(error):
        return error
    running = to_transactions(session.execute(OPEN_TRANSACTIONS_SQL.encode()).fetchall())
    return LockTimeout(
        f"the replication slot {slot_name} was not ready within {wait_seconds:g} s",
        hint="it waits for all open transactions of the server:"
        f" end {'; '.join(map(str, running[:5])) or 'them'}",
    )
