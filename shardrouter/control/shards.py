"""What adding, draining and removing a shard makes of a topology. Pure.

Slots follow at once only while no table is registered: then they carry no rows. Later a slot
changes its owner by a move, never by one of these; and slots in motion stay as they are.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from shardrouter.catalog import Move
from shardrouter.errors import SettingsError
from shardrouter.topology import Epoch, Shard, ShardId, Topology, plan_owners


def with_shard(current: Topology | None, shard: Shard, slots: int) -> Topology:
    """Return the topology with one more shard; ``current`` is None for the first one.

    Raises SettingsError when the shard is there already, or is the first one and has weight 0.
    """
    if current is None:
        owners = plan_owners(None, {shard.id: shard.weight}, slots)
        return Topology(epoch=Epoch(1), shards=(shard,), owners=owners)
    if any(known.id == shard.id for known in current.shards):
        raise SettingsError(
            f"there is a shard {shard.id} already",
            epoch=current.epoch,
            hint="choose another name; `shardrouter shard list` shows those in use",
        )
    shards = (*current.shards, shard)
    return current.next(shards=shards, owners=_owners(current, shards))


def drained(current: Topology, shard_id: str) -> Topology:
    """Return the topology with the shard's weight 0; the same if it is. Raises UnknownShard,
    SettingsError when no other shard could take its slots.
    """
    shard = current.shard(shard_id)
    if shard.weight == 0:
        return current
    if not any(other.weight for other in current.shards if other.id != shard.id):
        raise SettingsError(
            "no other shard has a weight above 0",
            shard=shard.id,
            epoch=current.epoch,
            hint="add the shard that shall take its slots first: `shardrouter shard add`",
        )
    shards = tuple(replace(s, weight=0) if s.id == shard.id else s for s in current.shards)
    return current.next(shards=shards, owners=_owners(current, shards))


def without_shard(current: Topology, shard_id: str, unfinished: Iterable[Move] = ()) -> Topology:
    """Return the topology without the shard. Raises UnknownShard, or SettingsError while slots or
    local tables are on it, or a move comes from it or goes to it.

    unfinished: moves that are not over, for those that are planned and not in the topology yet.
    """
    shard = current.shard(shard_id)
    _check_motions(current, shard, unfinished)
    owned = current.slot_counts()[shard.id]
    if owned:
        raise SettingsError(
            f"it owns {owned} slots",
            shard=shard.id,
            epoch=current.epoch,
            hint=f"`shardrouter shard drain {shard.id}`, and move its slots away",
        )
    local = [table.full_name for table in current.tables if table.shard == shard.id]
    if local:
        raise SettingsError(
            f"it holds the local tables {', '.join(local)}",
            shard=shard.id,
            epoch=current.epoch,
            hint=f"local tables do not move: keep the shard, `shardrouter shard drain {shard.id}`"
            " takes its slots",
        )
    return current.next(
        shards=tuple(s for s in current.shards if s.id != shard.id),
        floors=tuple(floor for floor in current.floors if floor[0] != shard.id),
    )


def _check_motions(current: Topology, shard: Shard, unfinished: Iterable[Move] = ()) -> None:
    moves = {m.move for m in current.motions if shard.id in (m.source, m.target)}
    moves |= {move.number for move in unfinished if shard.id in (move.source, move.target)}
    if moves:
        first = min(moves)
        raise SettingsError(
            f"it takes part in move {', '.join(map(str, sorted(moves)))}",
            shard=shard.id,
            epoch=current.epoch,
            hint=f"wait until the move is over, or end it: see `shardrouter move show {first}`",
        )


def _owners(current: Topology, shards: Sequence[Shard]) -> tuple[ShardId, ...]:
    if current.tables or current.motions:
        return current.owners
    return plan_owners(current.owners, {s.id: s.weight for s in shards}, current.slots)
