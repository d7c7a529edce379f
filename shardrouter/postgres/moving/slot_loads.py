"""How many rows and bytes each slot has on a shard."""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple

from psycopg.sql import Identifier
from sqlalchemy import Connection, text

from shardrouter.postgres.guard_sql import in_slots_sql, table_sql
from shardrouter.postgres.moving.table_columns import moved_columns
from shardrouter.postgres.verbatim import run_verbatim
from shardrouter.topology import Slot, Table, slot_sql

SAMPLED_BYTES: Final = 256 << 20
"""Of a larger table a sample of about this size is read."""


class SlotLoad(NamedTuple):
    """Estimated where the table was sampled."""

    rows: int
    bytes: int
    """On disk, with the slot's share of indexes and dead rows."""


def slot_loads(
    connection: Connection,
    tables: Sequence[Table],
    slot_count: int,
    *,
    sampled_bytes: int = SAMPLED_BYTES,
) -> dict[Slot, SlotLoad]:
    """Return the load of every slot that has rows here, over all ``tables``."""
    rows: dict[Slot, int] = defaultdict(int)
    sizes: dict[Slot, int] = defaultdict(int)
    for table in tables:
        for slot, load in table_loads(
            connection, table, slot_count, sampled_bytes=sampled_bytes
        ).items():
            rows[slot] += load.rows
            sizes[slot] += load.bytes
    return {slot: SlotLoad(rows[slot], sizes[slot]) for slot in sorted(rows)}


def table_loads(
    connection: Connection, table: Table, slot_count: int, *, sampled_bytes: int = SAMPLED_BYTES
) -> dict[Slot, SlotLoad]:
    """Return the load of every slot that has rows in one table."""
    size = connection.execute(_SIZE, {"name": table_sql(table)}).one()
    percent = min(100.0, 100.0 * sampled_bytes / max(1, size.heap))
    # Whole values would have to be put together; the size of each column is read off.
    columns = moved_columns(connection, table)
    width = " + ".join(f"coalesce(pg_column_size({_quoted(name)}), 0)" for name in columns)
    sample = "" if percent >= 100.0 else f" TABLESAMPLE SYSTEM ({percent:.6f})"
    found = run_verbatim(
        connection,
        f"SELECT {slot_sql(table.key, slot_count)} AS slot, count(*) AS rows,"
        f" sum({width})::bigint AS bytes FROM {table_sql(table)}{sample} GROUP BY 1",
    ).all()
    read = sum(row.bytes for row in found)
    return {
        Slot(row.slot): SlotLoad(
            math.ceil(row.rows * 100.0 / percent), math.ceil(size.total * row.bytes / max(1, read))
        )
        for row in found
        if row.slot is not None
    }


def count_rows(connection: Connection, table: Table, slots: Sequence[Slot], slot_count: int) -> int:
    """Count the rows of the slots exactly: reads the whole table."""
    condition = in_slots_sql(table.key, slots, slot_count)
    query = f"SELECT count(*) FROM {table_sql(table)} WHERE {condition}"
    return int(run_verbatim(connection, query).scalar_one())


def has_rows(connection: Connection, table: Table, slots: Sequence[Slot], slot_count: int) -> bool:
    """True when a row of the slots is there; reads the table until it finds one."""
    condition = in_slots_sql(table.key, slots, slot_count)
    query = f"SELECT EXISTS (SELECT FROM {table_sql(table)} WHERE {condition})"
    return bool(run_verbatim(connection, query).scalar_one())


def analyze(connection: Connection, tables: Sequence[Table]) -> None:
    """Refresh the planner's statistics, in the caller's transaction; passes over locked tables."""
    for table in tables:
        run_verbatim(connection, f"ANALYZE (SKIP_LOCKED) {table_sql(table)}")


def _quoted(name: str) -> str:
    return Identifier(name).as_string(None)


# Leaves of a partitioned table hold its rows.
_SIZE: Final = text(
    """
SELECT coalesce(sum(pg_catalog.pg_relation_size(t.relid)), 0)::bigint AS heap,
       coalesce(sum(pg_catalog.pg_total_relation_size(t.relid)), 0)::bigint AS total
  FROM (SELECT CAST(:name AS regclass) AS relid
        UNION SELECT relid FROM pg_catalog.pg_partition_tree(CAST(:name AS regclass))) t
"""
)
