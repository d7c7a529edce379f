"""The text of queries on the rows of moving slots, in primary key order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from psycopg.sql import Identifier, Literal
from sqlalchemy import Connection

from shardrouter.postgres.guard_sql import in_slots_sql, table_sql
from shardrouter.postgres.moving.table_columns import PrimaryKey, moved_columns, primary_key
from shardrouter.topology import Slot, Table

Key = tuple[str, ...]
"""A primary key, each column in its text form. Fit for JSON as a list."""


@dataclass(frozen=True, slots=True)
class MovedRows:
    """Rows of one table that are in given slots."""

    table: Table
    key: PrimaryKey
    columns: tuple[str, ...]
    condition: str

    @classmethod
    def of(
        cls, connection: Connection, table: Table, slots: Sequence[Slot], slot_count: int
    ) -> Self:
        """Ask the server for columns and key. Raises MoveRefused without a primary key."""
        key, columns = primary_key(connection, table), moved_columns(connection, table)
        return cls(table, key, columns, in_slots_sql(table.key, slots, slot_count))

    def chunk_sql(self, after: Key | None) -> str:
        """Return a query of ``hash, k0, k1 ...``, the keys as they are, ordered by the key."""
        keys = ", ".join(f"{name} AS k{i}" for i, name in enumerate(self.key.quoted))
        where = " AND ".join((self.condition, *self._bound(">", after)))
        source = f"FROM {table_sql(self.table)} AS moved_row WHERE {where}"
        return f"SELECT {self._hash()}, {keys} {source} ORDER BY {', '.join(self.key.quoted)}"

    def hashes_sql(self, after: Key | None, upto: Key | None = None) -> str:
        """Return a query of ``hash, k0, k1 ...``, the keys as text, ordered by the key."""
        bounds = [*self._bound(">", after), *self._bound("<=", upto)]
        where = " AND ".join((self.condition, *bounds))
        order = ", ".join(self.key.quoted)
        return f"{self._select(self._hash())} WHERE {where} ORDER BY {order}"

    def hashes_of_sql(self, keys: Sequence[Key]) -> str:
        """Return a query of ``hash, k0, k1 ...`` of the rows with these keys."""
        return f"{self._select(self._hash())} WHERE {self.condition} AND {self._is_one_of(keys)}"

    def json_of_sql(self, keys: Sequence[Key]) -> str:
        """Return a query of ``row as JSON text, k0, k1 ...`` of the rows with these keys."""
        whole = "pg_catalog.to_jsonb(moved_row)::text"
        return f"{self._select(whole)} WHERE {self.condition} AND {self._is_one_of(keys)}"

    def _select(self, first: str) -> str:
        keys = ", ".join(f"{name}::text AS k{i}" for i, name in enumerate(self.key.quoted))
        return f"SELECT {first}, {keys} FROM {table_sql(self.table)} AS moved_row"

    def _hash(self) -> str:
        names = ", ".join(Identifier(name).as_string(None) for name in self.columns)
        return f'pg_catalog.hashtextextended(ROW({names})::text COLLATE "C", 0) AS hash'

    def _bound(self, operator: str, key: Key | None) -> list[str]:
        return [] if key is None else [f"{self._key_row()} {operator} {self._values(key)}"]

    def _is_one_of(self, keys: Sequence[Key]) -> str:
        return f"{self._key_row()} IN ({', '.join(map(self._values, keys))})"

    def _key_row(self) -> str:
        return (
            f"ROW({', '.join(self.key.quoted)})"
            if len(self.key.columns) > 1
            else self.key.quoted[0]
        )

    def _values(self, key: Key) -> str:
        values = ", ".join(
            f"{Literal(value).as_string(None)}::{kind}"
            for value, kind in zip(key, self.key.types, strict=True)
        )
        return f"ROW({values})" if len(key) > 1 else values
