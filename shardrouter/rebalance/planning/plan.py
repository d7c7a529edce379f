"""Decide which slots go where so that the shards are even: batches in a safe order.

Pure: a topology and the load of each slot in, a proposal out. Count goes by the sticky quota, so
no plan moves fewer slots; bytes and load go by the load pass after it. Every batch takes from the
shard that is fullest then, so that stopping after any of them leaves the fleet better than before.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from shardrouter.errors import MoveRefused
from shardrouter.topology import ShardId, Slot, Topology, plan_load, plan_owners

EVEN: Final = 1.0
"""The imbalance of shards that all hold their fair share."""


class Measure(StrEnum):
    """What is to be even over the shards, in proportion to their weights."""

    COUNT = "count"
    """The number of slots."""

    BYTES = "bytes"
    LOAD = "load"
    """Queries as routers count them, or whatever the operator has counted for each slot."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Slots that one move carries."""

    source: ShardId
    target: ShardId
    slots: tuple[Slot, ...]
    """Ascending."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the operator asked for."""

    measure: Measure = Measure.COUNT
    max_moves: int | None = None
    slots_per_move: int | None = None
    """The most slots of one batch; None: all that go the same way."""

    excluded_shards: frozenset[ShardId] = frozenset()
    """They neither give nor take."""

    excluded_slots: frozenset[Slot] = frozenset()
    """They stay where they are."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What to move, and what that makes of the balance."""

    batches: tuple[Batch, ...]
    """In the order in which they are to be done."""

    imbalance_before: float
    """The fullest shard over its fair share by the measure; shards of weight 0 aside."""

    imbalance_after: float
    left_to_drain: int
    """Slots that stay on shards of weight 0 after these batches."""

    hot: tuple[Slot, ...] = ()
    """Slots too hot to share a shard: moves cannot help them further."""


def propose(
    topology: Topology,
    wanted: Wanted,
    loads: Sequence[float] | None = None,
    underway: Mapping[Slot, ShardId] | None = None,
) -> Proposal:
    """Compare the topology with weights and loads; return the moves that make it even.

    loads: of each slot, by number, in any one unit; None by count.
    underway: where slots of unfinished moves will be; they are counted there and left alone.

    Raises SettingsError when no shard can take slots, UnknownShard, MoveRefused.
    """
    _check(topology, wanted)
    heat = [1.0] * topology.slots if loads is None else loads
    owners = list(topology.owners)
    for slot, shard in (underway or {}).items():
        owners[slot] = shard
    fixed = frozenset(underway or {}) | wanted.excluded_slots
    weights = {shard.id: shard.weight for shard in topology.shards}
    after, hot = _owners_after(owners, weights, wanted, heat, fixed)
    fullness = _Fullness(owners, heat, weights)
    before = fullness.imbalance()
    batches = tuple(_in_order(_by_way(owners, after), fullness, wanted))
    return Proposal(
        batches,
        imbalance_before=before,
        imbalance_after=fullness.imbalance(),
        left_to_drain=fullness.slots_to_drain(),
        hot=hot,
    )


def propose_batch(topology: Topology, batch: Batch) -> Proposal:
    """Return one batch that an operator chose as a proposal, with the balance by count."""
    weights = {shard.id: shard.weight for shard in topology.shards}
    fullness = _Fullness(topology.owners, [1.0] * topology.slots, weights)
    before = fullness.imbalance()
    fullness.carry(batch)
    return Proposal((batch,), before, fullness.imbalance(), fullness.slots_to_drain())


def _check(topology: Topology, wanted: Wanted) -> None:
    for shard in wanted.excluded_shards:
        topology.shard(shard)
    for slot in wanted.excluded_slots:
        if not 0 <= slot < topology.slots:
            raise MoveRefused(
                f"there is no slot {slot}",
                epoch=topology.epoch,
                hint=f"slots are numbered 0 to {topology.slots - 1}",
            )


def _owners_after(
    owners: Sequence[ShardId],
    weights: Mapping[ShardId, int],
    wanted: Wanted,
    heat: Sequence[float],
    fixed: frozenset[Slot],
) -> tuple[Sequence[ShardId], tuple[Slot, ...]]:
    """Return who shall own each slot, and the slots too hot to share a shard."""
    frozen = wanted.excluded_shards
    by_count = wanted.measure is Measure.COUNT
    if by_count or _needs_count_pass(owners, weights, frozen):
        after: Sequence[ShardId] = plan_owners(
            owners, weights, len(owners), frozen=frozen, pinned=fixed
        )
    else:
        after = owners
    if by_count:
        return after, ()
    # Without load a slot is not seen; an excluded shard without load is no part of the balance.
    seen = [0.0 if after[slot] in frozen else load for slot, load in enumerate(heat)]
    open_weights = {shard: weight for shard, weight in weights.items() if shard not in frozen}
    plan = plan_load(after, seen, open_weights, fixed=fixed)
    return plan.owners, plan.pinned


def _needs_count_pass(
    owners: Sequence[ShardId], weights: Mapping[ShardId, int], frozen: Collection[ShardId]
) -> bool:
    """True when a shard has no slots yet, or must give all it has.

    Else an even load is not paid for with moves that only make the numbers of slots even.
    """
    holders = set(owners)
    return any(
        (weight > 0) != (shard in holders)
        for shard, weight in weights.items()
        if shard not in frozen
    )


def _by_way(
    owners: Sequence[ShardId], after: Sequence[ShardId]
) -> dict[tuple[ShardId, ShardId], list[Slot]]:
    """Return the slots that change their owner, by source and target."""
    ways: dict[tuple[ShardId, ShardId], list[Slot]] = defaultdict(list)
    for slot, (source, target) in enumerate(zip(owners, after, strict=True)):
        if source != target:
            ways[source, target].append(Slot(slot))
    return ways


def _in_order(
    ways: dict[tuple[ShardId, ShardId], list[Slot]], fullness: "_Fullness", wanted: Wanted
) -> Iterator[Batch]:
    """Yield the batches, each the best to do next; ``fullness`` ends after the last one."""
    left = wanted.max_moves
    while ways and left != 0:
        batch = min(
            (_first_batch(way, slots, wanted.slots_per_move) for way, slots in ways.items()),
            key=fullness.rank,
        )
        rest = ways[batch.source, batch.target][len(batch.slots) :]
        if rest:
            ways[batch.source, batch.target] = rest
        else:
            del ways[batch.source, batch.target]
        fullness.carry(batch)
        left = None if left is None else left - 1
        yield batch


def _first_batch(way: tuple[ShardId, ShardId], slots: Sequence[Slot], most: int | None) -> Batch:
    return Batch(*way, tuple(slots[:most]))


class _Fullness:
    """How full each shard is by the measure, while batches are carried from one to another."""

    def __init__(
        self, owners: Sequence[ShardId], heat: Sequence[float], weights: Mapping[ShardId, int]
    ) -> None:
        self._owners = list(owners)
        self._heat = heat
        self._weights = weights
        self._load = dict.fromkeys(weights, 0.0)
        for slot, shard in enumerate(owners):
            self._load[shard] += heat[slot]
        self._unit = sum(self._load.values()) / sum(weights.values())

    def imbalance(self) -> float:
        """The load of the fullest shard over its fair share."""
        if not self._unit:
            return EVEN
        return max(self._relative(shard) for shard, weight in self._weights.items() if weight)

    def slots_to_drain(self) -> int:
        return sum(self._weights[shard] == 0 for shard in self._owners)

    def rank(self, batch: Batch) -> tuple[bool, float, float, ShardId, ShardId]:
        """Lower is to be done sooner: the fullest source, to the emptiest target.

        What would leave the target fuller than the source was has to wait for others.
        """
        carried = sum(self._heat[slot] for slot in batch.slots)
        full, room = self._relative(batch.source), self._relative(batch.target)
        overfills = self._relative(batch.target, carried) > full
        return overfills, -full, room, batch.source, batch.target

    def carry(self, batch: Batch) -> None:
        for slot in batch.slots:
            self._owners[slot] = batch.target
            self._load[batch.source] -= self._heat[slot]
            self._load[batch.target] += self._heat[slot]

    def _relative(self, shard: ShardId, more: float = 0.0) -> float:
        weight = self._weights[shard]
        if not weight:
            return float("inf")
        return (self._load[shard] + more) / (weight * self._unit) if self._unit else 0.0
