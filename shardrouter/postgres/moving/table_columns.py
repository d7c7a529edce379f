"""Columns and relations of a table, as copies and comparisons need them."""

from dataclasses import dataclass
from typing import Final

from psycopg.sql import Identifier
from sqlalchemy import Connection, text

from shardrouter.errors import MoveRefused
from shardrouter.postgres.guard_sql import table_sql
from shardrouter.topology import Table

FIRST_OWN_OID: Final = 16384
"""Types from here on were made in the database; their OIDs differ from server to server."""


@dataclass(frozen=True, slots=True)
class PrimaryKey:
    """Columns in index order, and the types to cast their text forms to."""

    columns: tuple[str, ...]
    types: tuple[str, ...]

    @property
    def quoted(self) -> tuple[str, ...]:
        return tuple(Identifier(column).as_string(None) for column in self.columns)


@dataclass(frozen=True, slots=True)
class Leaf:
    """An ordinary table that holds rows: the table itself, or a partition of it."""

    schema: str
    name: str
    blocks: int
    """Its size now, in blocks of ``block_bytes``."""

    block_bytes: int

    @property
    def quoted(self) -> str:
        return Identifier(self.schema, self.name).as_string(None)


def moved_columns(connection: Connection, table: Table) -> tuple[str, ...]:
    """Return the columns that travel, by name: all but generated ones, which are made anew."""
    rows = connection.execute(_COLUMNS, _names(table))
    return tuple(row.attname for row in rows if not row.is_generated)


def has_portable_types(connection: Connection, table: Table) -> bool:
    """True when rows can travel in binary form: every type is Postgres' own."""
    rows = connection.execute(_COLUMNS, _names(table)).all()
    return all(row.type_oid < FIRST_OWN_OID and row.is_binary for row in rows)


def primary_key(connection: Connection, table: Table) -> PrimaryKey:
    """Return the primary key. Raises MoveRefused when there is none."""
    rows = connection.execute(_PRIMARY_KEY, _names(table)).all()
    if not rows:
        raise MoveRefused(
            f"{table.full_name} has no primary key",
            hint="rows without identity can neither be replicated nor compared: add one",
        )
    return PrimaryKey(tuple(row.attname for row in rows), tuple(row.type for row in rows))


def leaves(connection: Connection, table: Table) -> tuple[Leaf, ...]:
    """Return the relations that hold the table's rows, with their sizes."""
    rows = connection.execute(_LEAVES, {"name": table_sql(table)})
    return tuple(Leaf(row.nspname, row.relname, row.blocks, row.block_bytes) for row in rows)


def _names(table: Table) -> dict[str, str]:
    return {"schema": table.schema, "table": table.name}


_TABLE: Final = "n.nspname = :schema AND c.relname = :table"
_COLUMNS: Final = text(
    f"""
SELECT a.attname, a.attgenerated <> '' AS is_generated, t.oid AS type_oid,
       t.typsend <> 0 AND t.typreceive <> 0 AS is_binary
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE {_TABLE} AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attname COLLATE "C"
"""
)
_PRIMARY_KEY: Final = text(
    f"""
SELECT a.attname, format('%I.%I', tn.nspname, t.typname) AS type
  FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS part (attnum, place)
  JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = part.attnum
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
 WHERE {_TABLE} AND i.indisprimary AND part.place <= i.indnkeyatts
 ORDER BY part.place
"""
)
# An ordinary table is in no partition tree, not even its own.
_LEAVES: Final = text(
    """
SELECT n.nspname, c.relname, current_setting('block_size')::int AS block_bytes,
       pg_catalog.pg_relation_size(c.oid) / current_setting('block_size')::int AS blocks
  FROM (SELECT CAST(:name AS regclass) AS relid
        UNION SELECT relid FROM pg_catalog.pg_partition_tree(CAST(:name AS regclass))) t
  JOIN pg_catalog.pg_class c ON c.oid = t.relid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r'
 ORDER BY c.oid
"""
)
