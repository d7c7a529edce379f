"""Read a topology from a file, for fleets in which nothing moves: no catalog is needed then.

Two forms: JSON as ``Topology.to_json`` writes it, or TOML for people::

    slots = 4096                     # optional, as are the lines below but id and primary
    [[shards]]
    id = "s0"
    primary = "postgresql://db0.example/app"
    replicas = ["postgresql://db1.example/app"]
    weight = 1
    [[tables]]
    name = "orders"                  # or "schema.orders"
    key = ["customer_id:int8"]       # or reference = true, or shard = "s0"
"""

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shardrouter.config import check_dsn
from shardrouter.errors import SettingsError
from shardrouter.topology import (
    DEFAULT_SLOTS,
    Epoch,
    KeyColumn,
    KeyType,
    Node,
    NodeId,
    Role,
    Shard,
    ShardId,
    Table,
    TableKind,
    Topology,
    is_valid_slot_count,
    plan_owners,
)

FIRST_EPOCH: Final = Epoch(1)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Shard(_Strict):
    id: str
    primary: Annotated[str, Field(min_length=1)]
    replicas: tuple[str, ...] = ()
    weight: Annotated[int, Field(ge=0)] = 1


class _Table(_Strict):
    name: Annotated[str, Field(min_length=1)]
    key: tuple[str, ...] = ()
    reference: bool = False
    shard: str | None = None


class _File(_Strict):
    slots: int = DEFAULT_SLOTS
    shards: Annotated[tuple[_Shard, ...], Field(min_length=1)]
    tables: tuple[_Table, ...] = ()


def read_topology_file(path: Path) -> Topology:
    """Return the topology of a file. Raises SettingsError that says what is wrong with it."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(path, f"cannot be read: {error}") from error
    is_json = text.lstrip().startswith("{")
    topology = Topology.from_json(text) if is_json else _from_toml(path, text)
    if topology.motions:
        numbers = ", ".join(str(motion.move) for motion in topology.motions)
        raise SettingsError(
            f"topology file {path}: move {numbers} was under way when it was written",
            epoch=topology.epoch,
            hint="nobody tells a file how a move goes on: take it anew when the move is over",
        )
    for _, node in topology.nodes():
        check_dsn(node.dsn, f"{path}: node {node.id}")
    return topology


def succeeding(running: Topology, read: Topology) -> Topology:
    """Return the topology read, at an epoch above the running one's if it differs from it.

    Raises SettingsError when a slot would change its shard: nobody moves the rows.
    """
    if read.owners != running.owners:
        raise SettingsError(
            "the topology file gives slots to other shards than before, and nothing moves rows",
            epoch=running.epoch,
            hint="give a new shard weight = 0, or keep the topology in a catalog",
        )
    epoch = max(read.epoch, running.epoch)
    if replace(read, epoch=running.epoch) == running:
        return replace(read, epoch=epoch)
    return replace(read, epoch=Epoch(max(read.epoch, running.epoch + 1)))


def _from_toml(path: Path, text: str) -> Topology:
    try:
        given = _File.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise _wrong(path, f"is not TOML: {error}") from error
    except ValidationError as error:
        raise _wrong(path, "; ".join(_said(item) for item in error.errors())) from error
    if not is_valid_slot_count(given.slots):
        raise _wrong(path, f"slots = {given.slots} is not a power of two from 16 to 16384")
    weights = {ShardId(shard.id): shard.weight for shard in given.shards}
    try:
        return Topology(
            epoch=FIRST_EPOCH,
            shards=tuple(_shard(shard) for shard in given.shards),
            owners=plan_owners(None, weights, given.slots),
            tables=tuple(_table(path, table) for table in given.tables),
        )
    except SettingsError as error:
        raise _wrong(path, error.message) from error


def _shard(given: _Shard) -> Shard:
    """Name the nodes as ``shardrouter shard add`` does."""
    primary = Node(NodeId(f"{given.id}-p"), Role.PRIMARY, given.primary)
    replicas = [
        Node(NodeId(f"{given.id}-r{number}"), Role.REPLICA, dsn)
        for number, dsn in enumerate(given.replicas, start=1)
    ]
    return Shard(ShardId(given.id), (primary, *replicas), given.weight)


def _table(path: Path, given: _Table) -> Table:
    schema, dot, name = given.name.rpartition(".")
    if sum((bool(given.key), given.reference, given.shard is not None)) != 1:
        raise _wrong(path, f"table {given.name} needs one of key, reference = true and shard")
    kind = TableKind.LOCAL if given.shard is not None else TableKind.REFERENCE
    return Table(
        name=name,
        kind=TableKind.SHARDED if given.key else kind,
        key=tuple(_key_column(path, given.name, column) for column in given.key),
        shard=None if given.shard is None else ShardId(given.shard),
        schema=schema if dot else "public",
    )


def _key_column(path: Path, table: str, text: str) -> KeyColumn:
    name, _, kind = text.partition(":")
    try:
        return KeyColumn(name.strip(), KeyType(kind.strip()))
    except ValueError:
        known = ", ".join(KeyType)
        raise _wrong(path, f"table {table}: key {text!r} is not NAME:TYPE of {known}") from None


def _said(item: Mapping[str, Any]) -> str:
    return f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"


def _wrong(path: Path, what: str) -> SettingsError:
    return SettingsError(
        f"topology file {path}: {what}",
        hint="write [[shards]] with id, primary and replicas, or the JSON of a topology",
    )
