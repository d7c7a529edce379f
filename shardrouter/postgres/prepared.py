"""Prepared transactions on one shard: prepare a branch, settle it, and prove what became of it.

Every branch inserts a marker row in its own transaction. When Postgres says that it knows no such
prepared transaction, the marker tells whether it was committed by somebody else (the row is
there) or never will be: "not found" alone proves nothing.

All functions take a SQLAlchemy connection to the shard's primary. Errors are those of SQLAlchemy,
for the caller who knows the shard.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from psycopg import sql
from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, TEXT
from sqlalchemy.exc import DBAPIError

from shardrouter.postgres.single_statements import autocommit
from shardrouter.topology.transaction import Decision, gid_prefix, parse_gid

MARKER_TABLE: Final = "shardrouter.transaction_marker"

_UNDEFINED_OBJECT: Final = "42704"  # no prepared transaction of that gid
_NOT_IN_PREREQUISITE_STATE: Final = "55000"  # another session is settling it right now
_INSTALL_LOCK: Final = 0x5D_0002  # CREATE ... IF NOT EXISTS of two sessions can still collide

_STATUS: Final = text(
    "SELECT pg_catalog.pg_current_xact_id_if_assigned()::text AS xid,"
    " current_setting('transaction_isolation') AS isolation,"
    " pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8)"
    " AS timeline,"
    " current_setting('max_prepared_transactions')::int AS max_prepared,"
    f" pg_catalog.to_regclass('{MARKER_TABLE}') IS NOT NULL AS has_markers"
)
_MAKE_SCHEMA: Final = "CREATE SCHEMA IF NOT EXISTS shardrouter"
_MAKE_TABLE: Final = (
    f"CREATE TABLE IF NOT EXISTS {MARKER_TABLE}"
    " (gid text PRIMARY KEY, made_at timestamptz NOT NULL DEFAULT clock_timestamp())"
)
_MARK: Final = text(f"INSERT INTO {MARKER_TABLE} (gid) VALUES (:gid)")
_IS_MARKED: Final = text(f"SELECT count(*) FROM {MARKER_TABLE} WHERE gid = :gid")
_UNMARK: Final = text(f"DELETE FROM {MARKER_TABLE} WHERE gid = ANY(:gids)").bindparams(
    bindparam("gids", type_=ARRAY(TEXT))
)
_HAS_MARKERS: Final = text(f"SELECT pg_catalog.to_regclass('{MARKER_TABLE}') IS NOT NULL")
_LIST: Final = text(
    "SELECT gid FROM pg_catalog.pg_prepared_xacts"
    " WHERE database = current_database() AND pg_catalog.starts_with(gid, :prefix) ORDER BY gid"
)


class BranchOutcome(StrEnum):
    """What settling a branch came to."""

    DONE = "done"
    ALREADY = "already done"
    BUSY = "busy"
    """Another session is settling it at this moment."""

    LOST = "lost"
    """It should commit, but it is neither prepared nor committed."""

    CONFLICT = "conflict"
    """It should be rolled back, but somebody committed it."""


@dataclass(frozen=True, slots=True)
class BranchStatus:
    """What an open transaction on a shard has done, and whether it could be prepared."""

    xid: int | None
    """The full transaction id; None when nothing was written."""

    isolation: str
    timeline: int
    max_prepared: int
    has_markers: bool


def branch_status(connection: Connection) -> BranchStatus:
    """Ask the connection's open transaction. One round trip."""
    row = connection.execute(_STATUS).one()
    return BranchStatus(
        None if row.xid is None else int(row.xid),
        row.isolation,
        int(row.timeline, 16),
        row.max_prepared,
        row.has_markers,
    )


def install_markers(connection: Connection) -> None:
    """Create the marker table where it is missing, and commit. Safe from many sessions at once."""
    with connection.begin():
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _INSTALL_LOCK})
        connection.exec_driver_sql(_MAKE_SCHEMA)
        connection.exec_driver_sql(_MAKE_TABLE)


def prepare_branch(connection: Connection, gid: str) -> None:
    """Mark and prepare the connection's open transaction; the connection is idle afterwards.

    The marker's INSERT fails in an aborted transaction. PREPARE TRANSACTION alone would answer
    such a one with a silent ROLLBACK.
    """
    connection.execute(_MARK, {"gid": gid})
    connection.exec_driver_sql(_statement("PREPARE TRANSACTION", gid))
    connection.rollback()  # only for SQLAlchemy's books: the session has no transaction any more


def settle_branch(connection: Connection, gid: str, decision: Decision) -> BranchOutcome:
    """Commit or roll back a prepared branch. The connection must have no transaction open."""
    is_commit = decision is Decision.COMMIT
    verb = "COMMIT PREPARED" if is_commit else "ROLLBACK PREPARED"
    with autocommit(connection):
        try:
            connection.exec_driver_sql(_statement(verb, gid))
        except DBAPIError as error:
            sqlstate = getattr(error.orig, "sqlstate", None)
            if sqlstate == _NOT_IN_PREREQUISITE_STATE:
                return BranchOutcome.BUSY
            if sqlstate != _UNDEFINED_OBJECT:
                raise
            connection.rollback()
        else:
            return BranchOutcome.DONE
        if is_commit:
            return BranchOutcome.ALREADY if is_marked(connection, gid) else BranchOutcome.LOST
        return BranchOutcome.CONFLICT if is_marked(connection, gid) else BranchOutcome.ALREADY


def is_marked(connection: Connection, gid: str) -> bool:
    """True when the branch was committed (and its marker not yet cleaned up)."""
    if not connection.execute(_HAS_MARKERS).scalar_one():
        return False
    return bool(connection.execute(_IS_MARKED, {"gid": gid}).scalar_one())


def list_prepared(connection: Connection, fleet: str) -> list[str]:
    """Return the gids of this fleet's prepared transactions in this database, nobody else's."""
    gids = connection.execute(_LIST, {"prefix": gid_prefix(fleet)}).scalars().all()
    return [gid for gid in gids if parse_gid(gid) is not None]


def delete_markers(connection: Connection, gids: Sequence[str]) -> None:
    """Delete and commit the markers of branches that nobody will ask about any more."""
    with connection.begin():
        if connection.execute(_HAS_MARKERS).scalar_one():
            connection.execute(_UNMARK, {"gids": list(gids)})


def xact_status(connection: Connection, xid: int) -> str | None:
    """Return "committed", "aborted", "in progress", or None when Postgres has forgotten."""
    query = text("SELECT pg_catalog.pg_xact_status(CAST(CAST(:xid AS text) AS xid8))")
    status: str | None = connection.execute(query, {"xid": str(xid)}).scalar_one()
    return status


def _statement(verb: str, gid: str) -> str:
    """These commands take no parameters; the gid is quoted as a literal."""
    return sql.SQL("{} {}").format(sql.SQL(verb), sql.Literal(gid)).as_string(None)
