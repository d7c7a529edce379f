"""What Postgres' catalog says of a table, and whether it can be sharded by given columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, text

from shardrouter.errors import UnsupportedSchema
from shardrouter.topology import KeyColumn, key_type_of_column


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """One column as the server has it."""

    name: str
    type: str
    """``pg_type.typname``, for example ``int8``."""

    precision: int
    """``atttypmod``, -1 where the type has none."""

    is_not_null: bool
    is_generated: bool
    has_deterministic_collation: bool


@dataclass(frozen=True, slots=True)
class TableFacts:
    """One table as the server has it."""

    schema: str
    name: str
    kind: str
    """``pg_class.relkind``: r is an ordinary table, p a partitioned one."""

    is_permanent: bool
    is_inherited: bool
    """It is a partition, or a parent or child of inheritance; not: a partitioned table."""

    encoding: str
    columns: tuple[ColumnFacts, ...]
    primary_key: tuple[str, ...]
    identity: frozenset[str] | None
    """Columns of the replica identity; None when whole rows are."""

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"

    def column(self, name: str) -> ColumnFacts | None:
        return next((column for column in self.columns if column.name == name), None)

    def identity_holds(self, names: Sequence[str]) -> bool:
        """True when UPDATE and DELETE tell a replication the old values of these columns."""
        return self.identity is None or self.identity.issuperset(names)


def read_table(connection: Connection, schema: str, name: str) -> TableFacts | None:
    """Return what the server knows of a table or view, or None when there is none."""
    row = connection.execute(_TABLE, {"schema": schema, "name": name}).one_or_none()
    if row is None:
        return None
    columns = connection.execute(_COLUMNS, {"oid": row.oid}).all()
    return TableFacts(
        schema=schema,
        name=name,
        kind=row.relkind,
        is_permanent=row.relpersistence == "p",
        is_inherited=row.is_inherited,
        encoding=row.encoding,
        columns=tuple(_column(column) for column in columns),
        primary_key=tuple(row.primary_key or ()),
        identity=None if row.relreplident == "f" else frozenset(row.identity or ()),
    )


def key_columns(facts: TableFacts, names: Sequence[str]) -> tuple[KeyColumn, ...]:
    """Return the typed shard key of a table. Raises UnsupportedSchema naming what is wrong."""
    for is_wrong, message, hint in _table_rules(facts):
        if is_wrong:
            raise UnsupportedSchema(f"{facts.full_name} {message}", hint=hint)
    return tuple(_key_column(facts, name) for name in names)


def _table_rules(facts: TableFacts) -> tuple[tuple[bool, str, str], ...]:
    return (
        (facts.kind not in "rp", "is not a table", "shard ordinary or partitioned tables"),
        (not facts.is_permanent, "is unlogged or temporary", "ALTER TABLE ... SET LOGGED"),
        (
            facts.is_inherited,
            "inherits from a table, is inherited from, or is a partition",
            "register the partitioned table; a trigger does not pass on to other children",
        ),
    )


def _key_column(facts: TableFacts, name: str) -> KeyColumn:
    column = facts.column(name)
    where = f"{facts.full_name}.{name}"
    if column is None:
        known = ", ".join(c.name for c in facts.columns)
        raise UnsupportedSchema(f"{where} does not exist", hint=f"the table has {known}")
    rules = (
        (
            not column.is_not_null,
            "may be NULL",
            f"ALTER TABLE {facts.full_name} ALTER {name} SET NOT NULL",
        ),
        (column.is_generated, "is generated", "shard by a column that the client gives"),
    )
    for is_wrong, message, hint in rules:
        if is_wrong:
            raise UnsupportedSchema(f"the shard key {where} {message}", hint=hint)
    key_type = key_type_of_column(
        where,
        column.type,
        type_modifier=column.precision,
        has_deterministic_collation=column.has_deterministic_collation,
        encoding=facts.encoding,
    )
    return KeyColumn(name, key_type)


def _column(row: Any) -> ColumnFacts:
    return ColumnFacts(
        name=row.attname,
        type=row.type,
        precision=row.atttypmod,
        is_not_null=row.attnotnull,
        is_generated=row.is_generated,
        has_deterministic_collation=row.is_deterministic,
    )


_TABLE: Final = text(
    """
SELECT c.oid, c.relkind::text AS relkind, c.relpersistence::text AS relpersistence,
       c.relreplident::text AS relreplident,
       pg_catalog.getdatabaseencoding() AS encoding,
       EXISTS (SELECT FROM pg_catalog.pg_inherits i
                WHERE i.inhrelid = c.oid OR (i.inhparent = c.oid AND c.relkind <> 'p'))
         AS is_inherited,
       keys.primary_key, keys.identity
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 CROSS JOIN LATERAL (
       SELECT max(k.names) FILTER (WHERE i.indisprimary) AS primary_key,
              max(k.names) FILTER (WHERE CASE c.relreplident WHEN 'i' THEN i.indisreplident
                                         WHEN 'd' THEN i.indisprimary AND i.indimmediate
                                         ELSE false END) AS identity
         FROM pg_catalog.pg_index i
        CROSS JOIN LATERAL (
              SELECT array_agg(a.attname::text ORDER BY part.place) AS names
                FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS part (attnum, place)
                JOIN pg_catalog.pg_attribute a
                  ON a.attrelid = c.oid AND a.attnum = part.attnum
               WHERE part.place <= i.indnkeyatts) k
        WHERE i.indrelid = c.oid AND i.indisvalid) keys
 WHERE n.nspname = :schema AND c.relname = :name
"""
)

_COLUMNS: Final = text(
    """
SELECT a.attname, t.typname AS type, a.atttypmod, a.attnotnull,
       a.attgenerated <> '' AS is_generated,
       coalesce(l.collisdeterministic, true) AS is_deterministic
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
 WHERE a.attrelid = :oid AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum
"""
)
