"""Publications of a move: the rows of its slots in every sharded table, and its markers."""

from collections.abc import Sequence
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


def drop_publication(connection: Connection, name: str) -> None:
    """Drop a publication in the caller's transaction; no effect when it is gone."""
    limit_waits(connection, lock_seconds=_LOCK_SECONDS)
    run_verbatim(connection, f"DROP PUBLICATION IF EXISTS {_quoted(name)}")


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string(None)


_EXISTS: Final = text("SELECT EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname = :name)")
