"""Tell how a table that stands on a shard differs from its declaration."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from typing import Any, Final

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, Table

from shardrouter.postgres import read_table

_TOLD: Final[Mapping[str, Callable[..., str]]] = {
    "add_column": lambda _schema, table, column: f"{table}.{column.name} is missing",
    "remove_column": lambda _schema, table, column: f"{table}.{column.name} is not declared",
    "modify_type": lambda _schema, table, column, _options, there, declared: (
        f"{table}.{column} is {there}, declared {declared}"
    ),
    "modify_nullable": lambda _schema, table, column, _options, there, _declared: (
        f"{table}.{column} {'may' if there else 'may not'} be NULL"
    ),
}
"""What alembic may find that would break the service. Indexes and defaults would not."""


def differences(
    connection: Connection, metadata: MetaData, tables: Set[Table], default_schema: str
) -> list[str]:
    """Return, for people, how columns and primary keys on the server differ from the tables'."""
    wanted = {(table.schema, table.name) for table in tables}
    schemas = {table.schema for table in tables}

    def may_look_at(name: str | None, kind: str, parents: Mapping[str, Any]) -> bool:
        if kind == "schema":
            return name in schemas
        if kind == "table":
            return (parents["schema_name"], name) in wanted
        return True

    def may_compare(item: Any, name: str, kind: str, reflected: bool, other: Any) -> bool:
        return kind != "table" or (item.schema, name) in wanted

    context = MigrationContext.configure(
        connection,
        opts={
            "compare_type": True,
            "include_schemas": True,
            "include_name": may_look_at,
            "include_object": may_compare,
        },
    )
    found = [_TOLD[kind](*told) for kind, *told in _flat(compare_metadata(context, metadata))]
    return [*found, *_primary_key_differences(connection, tables, default_schema)]


def _flat(found: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """Yield the differences we tell; alembic groups those of one column in a list."""
    for item in found:
        for difference in item if isinstance(item, list) else [item]:
            if difference[0] in _TOLD:
                yield difference


def _primary_key_differences(
    connection: Connection, tables: Iterable[Table], default_schema: str
) -> Iterator[str]:
    for table in tables:
        facts = read_table(connection, table.schema or default_schema, table.name)
        declared = {column.name for column in table.primary_key}
        if facts is not None and set(facts.primary_key) != declared:
            there = ", ".join(facts.primary_key) or "none"
            yield f"{table.name} has the primary key ({there}), not ({', '.join(sorted(declared))})"
