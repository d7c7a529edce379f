"""Foreign keys of moved tables: replication writes rows without asking them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from psycopg.sql import Identifier
from sqlalchemy import Connection, text

from shardrouter.postgres.guard_sql import in_slots_sql, table_sql
from shardrouter.postgres.moving.moved_rows import Key
from shardrouter.postgres.moving.table_columns import primary_key
from shardrouter.postgres.verbatim import run_verbatim
from shardrouter.topology import Slot, Table

ORPHANS_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key of a moved table."""

    name: str
    table: Table
    columns: tuple[str, ...]
    parent_schema: str
    parent_name: str
    parent_columns: tuple[str, ...]

    @property
    def parent(self) -> str:
        """The full name of the table it points to, as the registry has it."""
        return f"{self.parent_schema}.{self.parent_name}"


def foreign_keys(connection: Connection, tables: Sequence[Table]) -> list[ForeignKey]:
    """Return the foreign keys of the tables."""
    found: list[ForeignKey] = []
    for table in tables:
        rows = connection.execute(_FOREIGN_KEYS, {"schema": table.schema, "table": table.name})
        found.extend(
            ForeignKey(
                row.conname,
                table,
                tuple(row.columns),
                row.parent_schema,
                row.parent_name,
                tuple(row.parent_columns),
            )
            for row in rows
        )
    return found


def orphans(
    connection: Connection,
    foreign_key: ForeignKey,
    slots: Sequence[Slot],
    slot_count: int,
    *,
    limit: int = ORPHANS_SHOWN,
) -> list[Key]:
    """Return primary keys of rows of the slots whose parent is not here; at most ``limit``.

    Reads the child's whole table.
    """
    child = foreign_key.table
    keys = ", ".join(f"child.{name}::text" for name in primary_key(connection, child).quoted)
    pairs = list(zip(foreign_key.columns, foreign_key.parent_columns, strict=True))
    joined = " AND ".join(
        f"parent.{_quoted(theirs)} = child.{_quoted(own)}" for own, theirs in pairs
    )
    # A NULL among the columns means no parent is asked for (MATCH SIMPLE).
    given = " AND ".join(f"child.{_quoted(own)} IS NOT NULL" for own, _ in pairs)
    parent = Identifier(foreign_key.parent_schema, foreign_key.parent_name).as_string(None)
    found = run_verbatim(
        connection,
        f"SELECT {keys} FROM {table_sql(child)} AS child"
        f" WHERE {in_slots_sql(child.key, slots, slot_count, 'child.')} AND {given}"
        f" AND NOT EXISTS (SELECT FROM {parent} AS parent WHERE {joined}) LIMIT {limit:d}",
    )
    return [tuple(row) for row in found]


def _quoted(name: str) -> str:
    return Identifier(name).as_string(None)


_FOREIGN_KEYS: Final = text(
    """
SELECT k.conname, pn.nspname AS parent_schema, p.relname AS parent_name,
       (SELECT array_agg(a.attname::text ORDER BY part.place)
          FROM unnest(k.conkey) WITH ORDINALITY AS part (attnum, place)
          JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = part.attnum)
         AS columns,
       (SELECT array_agg(a.attname::text ORDER BY part.place)
          FROM unnest(k.confkey) WITH ORDINALITY AS part (attnum, place)
          JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = part.attnum)
         AS parent_columns
  FROM pg_catalog.pg_constraint k
  JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_class p ON p.oid = k.confrelid
  JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
 WHERE k.contype = 'f' AND k.conparentid = 0 AND n.nspname = :schema AND c.relname = :table
 ORDER BY k.conname
"""
)
