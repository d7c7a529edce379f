"""The document of a topology, as JSON has it: plain values out, the fields in. Pure.

Format 1 is what shardrouter wrote before slots could move, and is written still while nothing has
moved. Format 2 has slots in motion and floors: an older router must not go on with them, since it
would not hold writes back. It also has few and short values, whatever slots are spread over which
shards: writers wait while a document is published and read.
"""

import sys
from array import array
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import chain, repeat
from typing import Any, Final

from shardrouter.topology.ids import Epoch, NodeId, ShardId
from shardrouter.topology.motion import Floors, Motion, SlotsInMotion
from shardrouter.topology.node import Node, Role
from shardrouter.topology.position import Position
from shardrouter.topology.shard import Shard
from shardrouter.topology.slot_ranges import slot_ranges, slots_of_ranges
from shardrouter.topology.table import KeyColumn, KeyType, Table, TableKind

FORMATS: Final = (1, 2)  # a reader refuses a newer one


def document_of(
    epoch: Epoch,
    shards: Sequence[Shard],
    owners: Sequence[ShardId],
    tables: Sequence[Table],
    motions: Sequence[SlotsInMotion],
    floors: Floors,
) -> dict[str, Any]:
    """Return plain values, as ``json.loads`` gives them."""
    document: dict[str, Any] = {
        "epoch": epoch,
        "shards": [asdict(shard) for shard in shards],
        "tables": [asdict(table) for table in tables],
    }
    if not motions and not floors:
        return {"format": 1, **document, "owners": _run_lengths(owners)}
    return {
        "format": 2,
        **document,
        "owners": _owners_document(owners),
        "motions": [_motion_document(motion) for motion in motions],
        "floors": [{"shard": shard, **asdict(position)} for shard, position in floors],
    }


def fields_from(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the topology. Raises LookupError, TypeError, ValueError."""
    if document["format"] not in FORMATS:
        raise ValueError(f"format {document['format']}")
    fields: dict[str, Any] = {
        "epoch": Epoch(int(document["epoch"])),
        "shards": tuple(_shard_from(item) for item in document["shards"]),
        "tables": tuple(_table_from(item) for item in document["tables"]),
    }
    if document["format"] == 1:
        return {**fields, "owners": _owners_from_runs(document["owners"])}
    return {
        **fields,
        "owners": _owners_from(document["owners"]),
        "motions": tuple(_motion_from(item) for item in document["motions"]),
        "floors": tuple(
            (ShardId(item["shard"]), Position(int(item["timeline"]), int(item["lsn"])))
            for item in document["floors"]
        ),
    }


def _run_lengths(owners: Sequence[ShardId]) -> list[list[Any]]:
    runs: list[list[Any]] = []
    last = None
    for owner in owners:
        if owner == last:
            runs[-1][1] += 1
        else:
            runs.append([owner, 1])
            last = owner
    return runs


def _owners_from_runs(runs: Sequence[Any]) -> tuple[ShardId, ...]:
    return tuple(chain.from_iterable(repeat(ShardId(owner), int(n)) for owner, n in runs))


def _owners_document(owners: Sequence[ShardId]) -> dict[str, Any]:
    """Return the names, and for each slot two bytes that say which: little-endian, in base64."""
    names = list(dict.fromkeys(owners))
    numbers = array("H", map({name: i for i, name in enumerate(names)}.__getitem__, owners))
    return {"names": names, "slots": b64encode(_little_endian(numbers).tobytes()).decode()}


def _owners_from(item: Mapping[str, Any]) -> tuple[ShardId, ...]:
    numbers = array("H", b64decode(item["slots"], validate=True))
    names = [ShardId(name) for name in item["names"]]
    return tuple(map(names.__getitem__, _little_endian(numbers)))


def _little_endian(numbers: "array[int]") -> "array[int]":
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _motion_document(motion: SlotsInMotion) -> dict[str, Any]:
    return {
        "move": motion.move,
        "slots": slot_ranges(motion.slots),
        "source": motion.source,
        "target": motion.target,
        "motion": motion.motion.value,
    }


def _motion_from(item: Mapping[str, Any]) -> SlotsInMotion:
    return SlotsInMotion(
        move=int(item["move"]),
        slots=slots_of_ranges(item["slots"]),
        source=ShardId(item["source"]),
        target=ShardId(item["target"]),
        motion=Motion(item["motion"]),
    )


def _shard_from(item: Mapping[str, Any]) -> Shard:
    return Shard(
        id=ShardId(item["id"]),
        weight=int(item["weight"]),
        nodes=tuple(
            Node(NodeId(n["id"]), Role(n["role"]), str(n["dsn"]), str(n.get("zone", "")))
            for n in item["nodes"]
        ),
    )


def _table_from(item: Mapping[str, Any]) -> Table:
    shard = item["shard"]
    return Table(
        name=item["name"],
        kind=TableKind(item["kind"]),
        key=tuple(KeyColumn(k["name"], KeyType(k["type"])) for k in item["key"]),
        shard=None if shard is None else ShardId(shard),
        schema=item["schema"],
    )
