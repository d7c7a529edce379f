"""Compare the rows of slots on two shards: digests of chunks in primary key order.

A row's text form is the same on every server once the session's settings for it are fixed; its
hash is Postgres' own. The digest of a chunk is the sum of its rows' hashes, so their order does
not matter. Primary keys travel as text, for Python cannot hold every value of every type.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, text

from shardrouter.postgres.moving.moved_rows import Key, MovedRows
from shardrouter.postgres.verbatim import run_verbatim
from shardrouter.topology import Slot, Table


@dataclass(frozen=True, slots=True)
class Chunk:
    """The rows behind one key up to another, in primary key order."""

    last_pk: Key | None
    """The chunk's upper end, inclusive; None: there is none, the table ends within it."""

    rows: int
    digest: str
    """Equal for equal rows."""

    def matches(self, other: "Chunk") -> bool:
        """True when the same rows are in both."""
        return (self.rows, self.digest) == (other.rows, other.digest)


def digest_chunk(
    connection: Connection,
    table: Table,
    slots: Sequence[Slot],
    slot_count: int,
    after: Key | None,
    limit: int,
) -> Chunk:
    """Digest the next ``limit`` rows of the slots behind the key ``after`` (None: the first).

    When there are fewer, ``last_pk`` is None and the chunk reaches to the end. The other side is
    asked with ``digest_range``. In the caller's transaction, the settings of which it changes;
    its isolation level decides what is seen.
    """
    rows = _prepare(connection, table, slots, slot_count)
    last = ", ".join(f"k{i}::text" for i in range(len(rows.key.columns)))
    row = run_verbatim(
        connection,
        f"WITH chunk AS MATERIALIZED ({rows.chunk_sql(after)} LIMIT {limit:d})"
        " SELECT count(*) AS rows, sum(hash)::text AS digest,"
        f" (SELECT ARRAY[{last}] FROM chunk OFFSET {limit - 1:d} LIMIT 1) AS last FROM chunk",
    ).one()
    return Chunk(tuple(row.last) if row.last else None, row.rows, row.digest or "0")


def digest_range(
    connection: Connection,
    table: Table,
    slots: Sequence[Slot],
    slot_count: int,
    after: Key | None,
    upto: Key | None,
) -> Chunk:
    """Digest the rows of the slots behind ``after`` up to ``upto`` (None: all behind)."""
    rows = _prepare(connection, table, slots, slot_count)
    row = run_verbatim(
        connection,
        "SELECT count(*) AS rows, sum(hash)::text AS digest"
        f" FROM ({rows.hashes_sql(after, upto)}) AS chunk",
    ).one()
    return Chunk(upto, row.rows, row.digest or "0")


def row_hashes(
    connection: Connection,
    table: Table,
    slots: Sequence[Slot],
    slot_count: int,
    after: Key | None,
    upto: Key | None,
) -> dict[Key, int]:
    """Return the hash of each row of the slots behind ``after`` up to ``upto``."""
    rows = _prepare(connection, table, slots, slot_count)
    found = run_verbatim(connection, rows.hashes_sql(after, upto))
    return {tuple(row[1:]): row[0] for row in found}


def hashes_of(
    connection: Connection,
    table: Table,
    slots: Sequence[Slot],
    slot_count: int,
    keys: Sequence[Key],
) -> dict[Key, int]:
    """Return the hashes of the rows with these primary keys; of those that are there."""
    if not keys:
        return {}
    rows = _prepare(connection, table, slots, slot_count)
    found = run_verbatim(connection, rows.hashes_of_sql(keys))
    return {tuple(row[1:]): row[0] for row in found}


def show_rows(
    connection: Connection,
    table: Table,
    slots: Sequence[Slot],
    slot_count: int,
    keys: Sequence[Key],
) -> dict[Key, str]:
    """Return rows with these primary keys as JSON text, for people who look for a difference."""
    if not keys:
        return {}
    rows = _prepare(connection, table, slots, slot_count)
    found = run_verbatim(connection, rows.json_of_sql(keys))
    return {tuple(row[1:]): row[0] for row in found}


def _prepare(
    connection: Connection, table: Table, slots: Sequence[Slot], slot_count: int
) -> MovedRows:
    for name, value in _SETTINGS.items():
        connection.execute(_SET, {"name": name, "value": value})
    return MovedRows.of(connection, table, slots, slot_count)


_SET: Final = text("SELECT pg_catalog.set_config(:name, :value, true)")

_SETTINGS: Final = {
    # Text forms depend on these; names in regclass and enum values on the path as well.
    "search_path": "pg_catalog",
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "xmlbinary": "base64",
    "lc_monetary": "C",
    # The planner believes that the condition on slots leaves hardly a row, and would read and
    # sort the whole table for each chunk.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_sort": "off",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",  # what is switched off counts as costly, and costly queries are compiled
}
