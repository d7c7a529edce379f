"""Put a table into the registry, and its guards on the shards where it exists."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from sqlalchemy import Connection

from shardrouter.errors import SettingsError, UnsupportedSchema
from shardrouter.postgres import (
    Guard,
    TableFacts,
    has_foreign_rows,
    install_guards,
    key_columns,
    read_table,
)
from shardrouter.topology import Shard, ShardId, Table, TableKind, Topology, slot_sql

ConnectPrimary = Callable[[Shard], AbstractContextManager[Connection]]


def with_table(current: Topology, table: Table) -> Topology:
    """Return the topology with the table registered, at the next epoch; the same if it is.

    Raises SettingsError when the table is registered otherwise, UnsupportedSchema for a key that
    cannot be one, UnknownShard.
    """
    standing = current.table(table.full_name)
    if standing == table:
        return current
    if standing is not None:
        raise SettingsError(
            f"table {table.full_name} is registered already, as {describe_table(standing)}",
            epoch=current.epoch,
            hint="how a table is spread cannot be changed: register another table"
            " and copy the rows through a router",
        )
    if table.shard is not None:
        current.shard(table.shard)
    if table.kind is TableKind.SHARDED:
        _check_columns(table, current.slots)
    return current.next(tables=(*current.tables, table))


def describe_table(table: Table) -> str:
    """Return how the table is spread, in a few words."""
    match table.kind:
        case TableKind.SHARDED:
            return "sharded by " + ", ".join(f"{c.name}:{c.type}" for c in table.key)
        case TableKind.REFERENCE:
            return "a reference table"
        case TableKind.LOCAL:
            return f"local to shard {table.shard}"


def check_table(
    new: Topology, table: Table, connect_primary: ConnectPrimary
) -> tuple[ShardId, ...]:
    """Compare a table with what the shards have; return the shards on which it exists.

    Raises UnsupportedSchema for another key than registered, SettingsError when a shard holds
    rows that another one owns, BackendUnreachable.
    """
    present: list[ShardId] = []
    for shard in _homes(new, table):
        with connect_primary(shard) as connection:
            facts = read_table(connection, table.schema, table.name)
            if facts is None:
                continue
            present.append(shard.id)
            if table.kind is TableKind.SHARDED:
                _check_key(facts, table, shard)
                _check_rows(connection, new, table, shard)
    return tuple(present)


def guard_table(
    current: Topology, table: Table, present: tuple[ShardId, ...], connect_primary: ConnectPrimary
) -> None:
    """Install the guards of a sharded table on the shards that have it."""
    if table.kind is not TableKind.SHARDED:
        return
    for shard_id in present:
        with connect_primary(current.shard(shard_id)) as connection:
            install_guards(connection, current, shard_id, [table])


def _homes(topology: Topology, table: Table) -> tuple[Shard, ...]:
    return topology.shards if table.shard is None else (topology.shard(table.shard),)


def _check_columns(table: Table, slots: int) -> None:
    slot_sql(table.key, slots)  # refuses too many columns
    names = [column.name for column in table.key]
    if len(set(names)) != len(names):
        raise UnsupportedSchema(
            f"the key of {table.full_name} names a column twice: {', '.join(names)}",
            hint="name each key column once",
        )


def _check_key(facts: TableFacts, table: Table, shard: Shard) -> None:
    found = key_columns(facts, [column.name for column in table.key])
    if found != table.key:
        types = ", ".join(f"{column.name}:{column.type}" for column in found)
        raise UnsupportedSchema(
            f"the key columns of {table.full_name} are {types}",
            shard=shard.id,
            hint=f"register it with --key {types.replace(' ', '')}",
        )


def _check_rows(connection: Connection, new: Topology, table: Table, shard: Shard) -> None:
    if has_foreign_rows(connection, Guard.of(table, new, shard.id)):
        raise SettingsError(
            f"table {table.full_name} holds rows that this shard does not own",
            shard=shard.id,
            epoch=new.epoch,
            hint="`shardrouter slot KEY` tells where a row belongs: bring them there first",
        )
