"""Empty the partitions whose rows all belong to the slots: at once, and without dead rows.

Postgres routes a row to a hash partition by the very hash whose lowest bits are our slot: where a
table is partitioned by hash on its shard key, each partition holds certain slots and no others.
Truncated, not detached: the partition stays, for slots that come back.
"""

import re
from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import Connection, exc, text

from shardrouter.postgres.guard_sql import in_slots_sql, table_sql
from shardrouter.postgres.locks import LOCK_NOT_AVAILABLE
from shardrouter.postgres.moving.limits import limit_waits, sqlstate_of
from shardrouter.postgres.verbatim import run_verbatim
from shardrouter.topology import Slot, Table

_LOCK_SECONDS: Final = 0.2  # whoever reads the table waits behind us for the lock
_BOUND: Final = re.compile(r"FOR VALUES WITH \(modulus (\d+), remainder (\d+)\)")

# Locked by others; referenced by a foreign key; not allowed: its rows are deleted instead.
_LEFT_TO_DELETE: Final = frozenset({LOCK_NOT_AVAILABLE, "0A000", "42501"})


def slots_of_partition(bound: str, slot_count: int) -> frozenset[int] | None:
    """Return the slots whose rows a hash partition holds; None when the bound does not tell.

    bound: as pg_get_expr() shows it. A modulus that is no power of two mixes all slots.
    """
    found = _BOUND.fullmatch(bound)
    if found is None:
        return None
    modulus, remainder = int(found[1]), int(found[2])
    if modulus & (modulus - 1):
        return None
    if modulus >= slot_count:
        return frozenset({remainder % slot_count})
    return frozenset(range(remainder, slot_count, modulus))


def slot_partitions(
    connection: Connection, table: Table, slots: Collection[Slot], slot_count: int
) -> tuple[str, ...]:
    """Return the quoted names of partitions that hold rows, and only rows of the slots."""
    wanted = frozenset(int(slot) for slot in slots)
    return tuple(
        row.quoted
        for row in connection.execute(_PARTITIONS, _names(table))
        if row.size and (slots_of_partition(row.bound, slot_count) or {-1}) <= wanted
    )


def holds_only(
    connection: Connection, partition: str, table: Table, slots: Sequence[Slot], slot_count: int
) -> bool:
    """True when every row of a partition is of the slots: reads all of it.

    The proof, beside its bound: a truncated row of another slot would be lost. None can come
    later, the partition's own constraint keeps them out.
    """
    in_slots = in_slots_sql(table.key, slots, slot_count)
    foreign = f"SELECT EXISTS (SELECT FROM {partition} WHERE ({in_slots}) IS NOT TRUE)"
    return not run_verbatim(connection, foreign).scalar_one()


def empty_partition(connection: Connection, partition: str) -> bool:
    """Truncate a partition, in the caller's transaction; False when that cannot be done now.

    Its rows are then left for ``delete_slots``. ``holds_only`` comes before. The role may set
    session_replication_role. Nobody may write the slots' rows here any more.
    """
    limit_waits(connection, lock_seconds=_LOCK_SECONDS)
    connection.execute(_REPLICA)  # past the triggers that refuse TRUNCATE during a move
    try:
        with connection.begin_nested():
            run_verbatim(connection, f"TRUNCATE {partition}")
    except exc.DBAPIError as error:
        if sqlstate_of(error) in _LEFT_TO_DELETE:
            return False
        raise
    return True


def _names(table: Table) -> dict[str, object]:
    return {"name": table_sql(table), "key": [column.name for column in table.key]}


_REPLICA: Final = text("SELECT pg_catalog.set_config('session_replication_role', 'replica', true)")

# The partitioning must be ours: by hash, on the columns of the key in their order, each with the
# hash of its type. (partattrs is 0 for an expression.)
_PARTITIONS: Final = text(
    """
SELECT format('%I.%I', n.nspname, c.relname) AS quoted,
       pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS bound,
       (SELECT sum(pg_catalog.pg_relation_size(leaf.relid))
          FROM (SELECT c.oid::regclass AS relid
                UNION SELECT relid FROM pg_catalog.pg_partition_tree(c.oid)) leaf) AS size
  FROM pg_catalog.pg_partitioned_table p
  JOIN pg_catalog.pg_inherits i ON i.inhparent = p.partrelid
  JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE p.partrelid = CAST(:name AS regclass) AND p.partstrat = 'h'
   AND (SELECT array_agg(a.attname::text ORDER BY part.place)
          FROM unnest(p.partattrs::int2[]) WITH ORDINALITY AS part (attnum, place)
          LEFT JOIN pg_catalog.pg_attribute a
            ON a.attrelid = p.partrelid AND a.attnum = part.attnum) = CAST(:key AS text[])
   AND (SELECT bool_and(o.opcdefault)
          FROM unnest(p.partclass::oid[]) AS part (opclass)
          JOIN pg_catalog.pg_opclass o ON o.oid = part.opclass)
 ORDER BY c.oid
"""
)
