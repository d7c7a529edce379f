"""Delete copies that a shard does not own (any more), a paced chunk at a time.

Walks through the blocks of each relation, so that no chunk reads again what another has emptied.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, exc, text

from shardrouter.postgres.guard_sql import in_slots_sql
from shardrouter.postgres.moving.limits import limit_waits, sqlstate_of
from shardrouter.postgres.moving.table_columns import Leaf, leaves
from shardrouter.postgres.verbatim import run_verbatim
from shardrouter.topology import Slot, Table

BLOCKS_READ: Final = 4096
"""Blocks that one chunk reads at most: bounds its time where hardly a row is in the slots."""

_LOCK_SECONDS: Final = 10.0
_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class DeletePlace:
    """Where the next chunk begins. Fit for JSON as a list of its fields."""

    leaf: int
    """Number of the relation among the table's leaves."""

    block: int
    offset: int


@dataclass(frozen=True, slots=True)
class Deleted:
    """What one chunk did."""

    rows: int
    next: DeletePlace | None
    """None: the table has been walked through."""


FIRST_PLACE: Final = DeletePlace(0, 0, 0)


def delete_slots(
    connection: Connection,
    table: Table,
    slots: Sequence[Slot],
    slot_count: int,
    limit: int,
    place: DeletePlace = FIRST_PLACE,
) -> Deleted:
    """Delete at most ``limit`` rows of the slots, in the caller's transaction.

    Past the guard, and without foreign keys' actions: the role may set session_replication_role.
    No stream may carry the deletions on: those of the move are dropped before. A place that is
    wrong after a restart is harmless: begin anew, and ask ``has_rows`` at the end.
    """
    limit_waits(connection, lock_seconds=_LOCK_SECONDS, seconds=_SECONDS)
    _act_as_replica(connection)
    found = leaves(connection, table)
    if place.leaf >= len(found):
        return Deleted(0, None)
    leaf = found[place.leaf]
    end = min(place.block + BLOCKS_READ, leaf.blocks)
    condition = in_slots_sql(table.key, slots, slot_count)
    row = run_verbatim(connection, _delete_sql(leaf, place, end, condition, limit)).one()
    if row.rows == limit:
        block, offset = row.last.strip("()").split(",")
        return Deleted(row.rows, DeletePlace(place.leaf, int(block), int(offset) + 1))
    if end < leaf.blocks:
        return Deleted(row.rows, DeletePlace(place.leaf, end, 0))
    following = place.leaf + 1
    return Deleted(row.rows, DeletePlace(following, 0, 0) if following < len(found) else None)


@contextmanager
def cleaning_origin(connection: Connection, name: str) -> Iterator[bool]:
    """Mark what the block deletes as not our own: change capture that asks for that skips it.

    Gives False where the role may not, or another session uses the origin. Runs transactions of
    its own around the block; ``drop_origin`` removes the name at the end of the move.
    """
    is_marked = _run_alone(connection, _MAKE_ORIGIN, name) and _run_alone(
        connection, _ENTER_ORIGIN, name
    )
    try:
        yield is_marked
    finally:
        if is_marked and not connection.invalidated:
            if connection.in_transaction():
                connection.rollback()
            with connection.begin():
                connection.execute(_LEAVE_ORIGIN)


def drop_origin(connection: Connection, name: str) -> None:
    """Drop the origin in the caller's transaction; no effect when it is gone.

    A role that could not make it may not drop one either, not even none.
    """
    if connection.execute(_HAS_ORIGIN, {"name": name}).scalar_one():
        connection.execute(_DROP_ORIGIN, {"name": name})


def _run_alone(connection: Connection, statement: object, name: str) -> bool:
    try:
        with connection.begin():
            connection.execute(statement, {"name": name})  # type: ignore[call-overload]
        return True
    except exc.DBAPIError as error:
        if sqlstate_of(error) in _NOT_POSSIBLE:
            return False
        raise


def _delete_sql(leaf: Leaf, place: DeletePlace, end: int, condition: str, limit: int) -> str:
    # Rows come in the order of their places: the last one deleted is where the next chunk begins.
    return (
        f"WITH chosen AS MATERIALIZED (SELECT ctid FROM ONLY {leaf.quoted}"
        f" WHERE ctid >= '({place.block:d},{place.offset:d})' AND ctid < '({end:d},0)'"
        f" AND {condition} LIMIT {limit:d}),"
        f" gone AS (DELETE FROM ONLY {leaf.quoted}"
        " WHERE ctid = ANY (ARRAY(SELECT ctid FROM chosen)) RETURNING 1)"
        " SELECT (SELECT count(*) FROM gone) AS rows, (SELECT max(ctid)::text FROM chosen) AS last"
    )


def _act_as_replica(connection: Connection) -> None:
    connection.execute(_REPLICA)


_NOT_POSSIBLE: Final = ("42501", "55006", "53400", "55000", "23505")
_REPLICA: Final = text("SELECT pg_catalog.set_config('session_replication_role', 'replica', true)")
_MAKE_ORIGIN: Final = text(
    "SELECT pg_catalog.pg_replication_origin_create(:name)"
    " WHERE pg_catalog.pg_replication_origin_oid(:name) IS NULL"
)
_ENTER_ORIGIN: Final = text("SELECT pg_catalog.pg_replication_origin_session_setup(:name)")
_LEAVE_ORIGIN: Final = text("SELECT pg_catalog.pg_replication_origin_session_reset()")
_HAS_ORIGIN: Final = text(
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_replication_origin WHERE roname = :name)"
)
_DROP_ORIGIN: Final = text("SELECT pg_catalog.pg_replication_origin_drop(:name)")
