"""Slots on their way between the shards of a gather bed, and the foreign rows that come of it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from shardrouter.topology import (
    DEFAULT_SLOTS,
    Epoch,
    KeyColumn,
    KeyType,
    Motion,
    Node,
    NodeId,
    Role,
    Shard,
    ShardId,
    Slot,
    SlotsInMotion,
    Table,
    TableKind,
    Topology,
    key_slot,
)

Rows = Sequence[Mapping[str, Any]]

UIDS: Final = 9  # as many as the random rows have, from 0 on
_TABLES: Final = (
    Table("thing", TableKind.SHARDED, (KeyColumn("uid", KeyType.INT4),)),
    Table("part", TableKind.SHARDED, (KeyColumn("owner", KeyType.INT4),)),
)
_MOVES: Final = (  # uids, from the n-th shard, to the n-th shard, how
    ((0, 3), 0, 1, Motion.COPYING),
    ((4,), 1, 2, Motion.PAUSED),  # the source owns it still
    ((2,), 1, 2, Motion.PAUSED),  # the target owns it
    ((8, 5), 0, 2, Motion.MOVED),
)


def moving(shards: Sequence[ShardId]) -> Topology:
    """Return a topology in which the shard of a row is that of its uid modulo their number."""
    owners = [shards[0]] * DEFAULT_SLOTS
    for uid in range(UIDS):
        owners[key_slot(uid, DEFAULT_SLOTS)] = shards[uid % len(shards)]
    return Topology(
        epoch=Epoch(7),
        shards=tuple(
            Shard(s, (Node(NodeId(f"{s}-p"), Role.PRIMARY, f"host={s}"),)) for s in shards
        ),
        owners=tuple(owners),
        tables=_TABLES,
        motions=tuple(
            SlotsInMotion(number, _slots(uids), shards[source], shards[target], motion)
            for number, (uids, source, target, motion) in enumerate(_MOVES)
        ),
    )


def strangers_on(
    topology: Topology, shard: ShardId, things: Rows, parts: Rows
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return rows a shard holds without owning them.

    They have the values of other rows, as if the owner had changed its own since, and beside each
    is one that the owner has deleted since.
    """
    foreign = {
        slot
        for motion in topology.motions
        if motion.stranger(topology.owners) == shard
        for slot in motion.slots
    }
    copies: list[dict[str, Any]] = []
    for number, row in enumerate(things):
        if key_slot(row["uid"], topology.slots) in foreign:
            older = {**things[number - 1], "id": row["id"], "uid": row["uid"]}
            copies += [older, {**older, "id": row["id"] + 1000}]
    copied = {row["id"] for row in copies}
    return copies, [
        {**part, "id": part["id"] + more, "n": 7, "thing_id": part["thing_id"] + more}
        for part in parts
        if part["thing_id"] in copied
        for more in (0, 1000)
    ]


def _slots(uids: Sequence[int]) -> tuple[Slot, ...]:
    return tuple(sorted(key_slot(uid, DEFAULT_SLOTS) for uid in uids))
