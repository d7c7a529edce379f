"""The JSON form of a topology: plain values out, the fields of a topology in. Pure.

Format 2 has slots in motion and floors. A topology without them is written as format 1, which
older routers read; with them they must not go on, since they would not hold writes back.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any, Final

from shardrouter.topology.ids import Epoch, NodeId, ShardId, Slot
from shardrouter.topology.motion import Floors, Motion, SlotsInMotion
from shardrouter.topology.node import Node, Role
from shardrouter.topology.position import Position
from shardrouter.topology.shard import Shard
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
    """Return what ``json.dumps`` takes."""
    document: dict[str, Any] = {
        "format": 2 if motions or floors else 1,
        "epoch": epoch,
        "shards": [asdict(shard) for shard in shards],
        "owners": [(owner, sum(1 for _ in run)) for owner, run in groupby(owners)],
        "tables": [asdict(table) for table in tables],
    }
    if motions:
        document["motions"] = [
            {**asdict(motion), "slots": _ranges(motion.slots)} for motion in motions
        ]
    if floors:
        document["floors"] = [{"shard": shard, **asdict(position)} for shard, position in floors]
    return document


def fields_from(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the topology. Raises KeyError, TypeError, ValueError."""
    if document["format"] not in FORMATS:
        raise ValueError(f"format {document['format']}")
    return {
        "epoch": Epoch(int(document["epoch"])),
        "shards": tuple(_shard_from(item) for item in document["shards"]),
        "owners": tuple(
            ShardId(owner) for owner, count in document["owners"] for _ in range(int(count))
        ),
        "tables": tuple(_table_from(item) for item in document["tables"]),
        "motions": tuple(_motion_from(item) for item in document.get("motions", ())),
        "floors": tuple(
            (ShardId(item["shard"]), Position(int(item["timeline"]), int(item["lsn"])))
            for item in document.get("floors", ())
        ),
    }


def _ranges(slots: Iterable[Slot]) -> list[tuple[int, int]]:
    """Return ascending slots as pairs of first and last."""
    runs = groupby(enumerate(slots), key=lambda item: item[1] - item[0])
    members = ([slot for _, slot in run] for _, run in runs)
    return [(run[0], run[-1]) for run in members]


def _motion_from(item: Mapping[str, Any]) -> SlotsInMotion:
    return SlotsInMotion(
        move=int(item["move"]),
        slots=tuple(Slot(s) for first, last in item["slots"] for s in range(first, last + 1)),
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
