"""``shardrouter table add | list``."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

import typer
from sqlalchemy import Connection

from shardrouter.cli.catalog import ConfigOption, ReasonOption, open_store
from shardrouter.cli.output import DryRunOption, Output, OutputOption, show_rows
from shardrouter.cli.publish import publish_change
from shardrouter.control import check_table, guard_table, with_table
from shardrouter.postgres import direct_connection
from shardrouter.topology import KeyColumn, KeyType, Shard, ShardId, Table, TableKind, Topology

app = typer.Typer(help="Register tables, and list them.", no_args_is_help=True)

_COLUMNS: Final = ("table", "kind", "key", "shard")
_ALIASES: Final = {
    "smallint": KeyType.INT2,
    "int": KeyType.INT4,
    "integer": KeyType.INT4,
    "bigint": KeyType.INT8,
}
_NAME: Final = re.compile(r'[^\W\d][\w$]*|"(?:[^"]|"")+"')
_MAX_NAME_BYTES: Final = 63  # Postgres cuts longer ones


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="the table, or schema.table", show_default=False)],
    key: Annotated[
        str | None,
        typer.Option("--key", help="sharded by: col:type[,col:type]", show_default=False),
    ] = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="the same rows on every shard")
    ] = False,
    local: Annotated[
        str | None, typer.Option("--local", help="on this shard only", show_default=False)
    ] = None,
    config: ConfigOption = None,
    reason: ReasonOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Register how a table is spread; guard it on the shards where it exists."""
    table = _table(name, key, reference, local)
    with open_store(config) as (store, settings):

        @contextmanager
        def connect_primary(shard: Shard) -> Iterator[Connection]:
            timeout = settings.pool.connect_timeout_seconds
            with direct_connection(shard, shard.primary, timeout) as connection:
                yield connection

        before = store.load()
        after = with_table(before, table)
        present = check_table(after, table, connect_primary)
        publish_change(
            store,
            before,
            after,
            reason=reason or f"table add {table.full_name}",
            dry_run=dry_run,
            notes=_notes(after, table, present),
            output=output,
        )
        if not dry_run:
            guard_table(after, table, present, connect_primary)


@app.command("list")
def list_tables(config: ConfigOption = None, output: OutputOption = Output.TABLE) -> None:
    """List the registered tables."""
    with open_store(config) as (store, _):
        rows = tables_as_data(store.find())
    show_rows(rows, output, _COLUMNS, empty="no tables yet: `shardrouter table add`")


def tables_as_data(topology: Topology | None) -> list[dict[str, Any]]:
    """Return the registered tables for JSON."""
    tables = () if topology is None else topology.tables
    return [
        {
            "table": table.full_name,
            "kind": table.kind.value,
            "key": ",".join(f"{column.name}:{column.type}" for column in table.key) or None,
            "shard": table.shard,
        }
        for table in tables
    ]


def _notes(topology: Topology, table: Table, present: tuple[ShardId, ...]) -> list[str]:
    homes = [s.id for s in topology.shards] if table.shard is None else [table.shard]
    missing = [shard for shard in homes if shard not in present]
    if not missing:
        return []
    return [f"{table.full_name} does not exist yet on {', '.join(missing)}"]


def _table(name: str, key: str | None, reference: bool, local: str | None) -> Table:
    if (key is not None) + reference + (local is not None) != 1:
        raise typer.BadParameter("name one of --key, --reference and --local")
    *schema, table = _names(name, "NAME")
    if len(schema) > 1:
        raise typer.BadParameter(f"{name!r} is not table or schema.table", param_hint="NAME")
    home = schema[0] if schema else "public"
    if key is not None:
        return Table(table, TableKind.SHARDED, _key(key), schema=home)
    if local is not None:
        return Table(table, TableKind.LOCAL, shard=ShardId(local), schema=home)
    return Table(table, TableKind.REFERENCE, schema=home)


def _key(text: str) -> tuple[KeyColumn, ...]:
    return tuple(_key_column(part.strip()) for part in text.split(","))


def _key_column(text: str) -> KeyColumn:
    name, _, kind = text.rpartition(":")
    kind = kind.strip().lower()
    if not name or kind not in [*_ALIASES, *KeyType]:
        raise typer.BadParameter(
            f"{text!r} is not column:type with a type of {', '.join(KeyType)}", param_hint="--key"
        )
    names = _names(name.strip(), "--key")
    if len(names) != 1:
        raise typer.BadParameter(f"{name!r} is not one column", param_hint="--key")
    return KeyColumn(names[0], _ALIASES.get(kind) or KeyType(kind))


def _names(text: str, parameter: str) -> list[str]:
    """Split a dotted SQL name and fold its parts as Postgres does."""
    parts = _NAME.findall(text)
    if ".".join(parts) != text:
        raise typer.BadParameter(f"{text!r} is not an SQL name", param_hint=parameter)
    folded = [p[1:-1].replace('""', '"') if p[0] == '"' else p.lower() for p in parts]
    for part in folded:
        if len(part.encode()) > _MAX_NAME_BYTES:
            raise typer.BadParameter(f"{part!r} is longer than 63 bytes", param_hint=parameter)
    return folded
