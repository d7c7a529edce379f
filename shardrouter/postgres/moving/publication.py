"""Publications of a move: the rows of its slots in every sharded table, and its markers."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from psycopg import sql
from sqlalchemy import Connection, text

from shardrouter.postgres.guard_sql import in_slots_sql, table_sql
from shardrouter.postgres.moving.limits import limit_waits
from shardrouter.postgres.moving.tables import MARKER_TABLE
from shardrouter.postgres.verbatim import run_verbatim
from shardrouter.topology import Slot, Table
from shardrouter.topology.move import Direction

_LOCK_SECONDS: Final = 5.0  # SHARE UPDATE EXCLUSIVE: only DDL, VACUUM and ANALYZE stand in its way


def create_publication(
    connection: Connection,
    name: str,
    tables: Sequence[Table],
    slots: Sequence[Slot],
    slot_count: int,
    *,
    move: int,
    attempt: int,
    direction: Direction,
) -> None:
    """Publish the slots' rows of ``tables`` and the stream's markers, in the caller's transaction.

    No effect when it exists. The replica identity of each table holds its shard key, otherwise
    its UPDATEs and DELETEs fail from now on: the caller has checked. TRUNCATE is never published:
    it would take the rows of all slots away on the other side.
    """
    if connection.execute(_EXISTS, {"name": name}).scalar_one():
        return
    limit_waits(connection, lock_seconds=_LOCK_SECONDS)
    statement = publication_sql(
        name, tables, slots, slot_count, move=move, attempt=attempt, direction=direction
    )
    run_verbatim(connection, statement)


def publication_sql(
    name: str,
    tables: Sequence[Table],
    slots: Sequence[Slot],
    slot_count: int,
    *,
    move: int,
    attempt: int,
    direction: Direction,
) -> str:
    """Return the statement that makes the publication."""
    filtered = [
        f"{table_sql(table)} WHERE ({in_slots_sql(table.key, slots, slot_count)})"
        for table in sorted(tables, key=lambda table: table.full_name)
    ]
    # Without its filter a marker would travel with the streams of other moves as well, and arrive
    # twice.
    of_stream = f"move = {move:d} AND attempt = {attempt:d} AND direction = '{direction.value}'"
    objects = ", ".join([*filtered, f"{MARKER_TABLE} WHERE ({of_stream})"])
    options = "publish = 'insert, update, delete', publish_via_partition_root = true"
    return f"CREATE PUBLICATION {_quoted(name)} FOR TABLE {objects} WITH ({options})"


def empty_publication(connection: Connection, name: str) -> bool:
    """Take the tables out of a publication, in the caller's transaction; False when it has none.

    Race: a statement that writes looks at the publications of its table, in two steps. It fails
    ("cache lookup failed for publication", seen on PostgreSQL 18) when one is dropped in between.
    So no table may be in a publication when it is dropped, and no statement may still believe it.
    """
    tables = connection.execute(_TABLES, {"name": name}).scalars().all()
    if not tables:
        return False
    limit_waits(connection, lock_seconds=_LOCK_SECONDS)
    run_verbatim(connection, f"ALTER PUBLICATION {_quoted(name)} DROP TABLE {', '.join(tables)}")
    return True


def server_time(connection: Connection) -> datetime:
    """Return the server's clock."""
    time: datetime = connection.execute(_TIME).scalar_one()
    return time


def statements_since_before(connection: Connection, time: datetime) -> int:
    """Return how many statements run that began before; needs pg_monitor to see those of others."""
    return int(connection.execute(_OLDER, {"time": time}).scalar_one())


def drop_publication(connection: Connection, name: str) -> None:
    """Drop a publication in the caller's transaction; no effect when it is gone.

    ``empty_publication`` comes before, in a transaction of its own.
    """
    limit_waits(connection, lock_seconds=_LOCK_SECONDS)
    run_verbatim(connection, f"DROP PUBLICATION IF EXISTS {_quoted(name)}")


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string(None)


_TIME: Final = text("SELECT pg_catalog.clock_timestamp()")
_OLDER: Final = text(
    "SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE state = 'active'"
    " AND query_start < :time AND datname = pg_catalog.current_database()"
    " AND backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid()"
)
_TABLES: Final = text(
    """
SELECT format('%I.%I', n.nspname, c.relname)
  FROM pg_catalog.pg_publication p
  JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid
  JOIN pg_catalog.pg_class c ON c.oid = r.prrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE p.pubname = :name
"""
)
_EXISTS: Final = text("SELECT EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname = :name)")
