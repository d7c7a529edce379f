"""Plan which slots to move so that load, not only their count, is even over the shards.

Pure and deterministic. Runs after the count pass (``placement``): a few slots move until no shard
is above its cap. A slot above the cap by itself cannot be balanced by moves; it is *pinned*: it
has a shard alone, and both are left out of the average of the others.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from shardrouter.errors import SettingsError
from shardrouter.topology.ids import ShardId, Slot

_ROUNDING: Final = 1e-9  # of the whole load: what sums of floats may be off


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """Owners that even out the load."""

    owners: tuple[ShardId, ...]
    pinned: tuple[Slot, ...]
    """Slots too hot to share a shard, hottest first. Only a bigger shard or reads from replicas
    help them further."""

    peak_before: float
    """Load of the fullest shard over its fair share; 1.0 is even."""

    peak_after: float


def plan_load(
    owners: Sequence[ShardId],
    loads: Sequence[float],
    weights: Mapping[ShardId, int],
    *,
    slack: float = 0.10,
    fixed: Collection[Slot] = (),
) -> LoadPlan:
    """Return owners under which no shard has more than (1 + slack) of its fair load, if possible.

    ``loads`` is the load of each slot in any one unit (bytes, queries a second). A shard's fair
    load is its weight's part of the whole. ``fixed`` slots stay where they are. Where slots are
    too coarse for the cap, the plan goes as far as single moves can, and never makes the peak
    higher. Raises SettingsError when no shard has a positive weight.
    """
    if len(loads) != len(owners) or min(loads, default=0.0) < 0:
        raise ValueError("one load of 0 or more is needed for each slot")
    if not any(weight > 0 for weight in weights.values()):
        raise SettingsError(
            "no shard can take load: every weight is 0",
            hint="give at least one shard a positive weight",
        )
    balance = _Balance(owners, loads, weights, frozenset(fixed))
    before = balance.peak()
    pinned = balance.pin_hot_slots(1 + slack)
    balance.level(1 + slack)
    if balance.peak() > before:
        return LoadPlan(tuple(owners), (), before, before)
    return LoadPlan(tuple(balance.owners), pinned, before, balance.peak())


class _Balance:
    """The owners while slots are moved between them, and each shard's load and busy slots."""

    def __init__(
        self,
        owners: Sequence[ShardId],
        loads: Sequence[float],
        weights: Mapping[ShardId, int],
        fixed: frozenset[Slot] = frozenset(),
    ) -> None:
        self.owners = list(owners)
        self.loads = loads
        self.weights = {shard: weights[shard] for shard in sorted(weights) if weights[shard] > 0}
        shards = sorted({*weights, *owners})
        self.load = dict.fromkeys(shards, 0.0)
        self.busy: dict[ShardId, list[tuple[float, Slot]]] = {shard: [] for shard in shards}
        self.hosts: dict[ShardId, float] = {}  # of a pinned slot, with its load
        for slot, shard in enumerate(owners):
            if loads[slot] > 0:
                self.load[shard] += loads[slot]
                if slot not in fixed:
                    self.busy[shard].append((loads[slot], Slot(slot)))
        for members in self.busy.values():
            members.sort()
        self.total = sum(self.load.values())

    def peak(self) -> float:
        """Load of the fullest shard over its fair share; infinite when it should have none."""
        if not self.total:
            return 1.0
        whole = sum(self.weights.values())
        return max(
            load / self.total * whole / self.weights[shard]
            if shard in self.weights
            else float("inf")
            for shard, load in self.load.items()
            if load > self.total * _ROUNDING
        )

    def pin_hot_slots(self, factor: float) -> tuple[Slot, ...]:
        """Give each slot that is above every cap a shard for itself, while others are left."""
        pinned: list[Slot] = []
        hottest = sorted((-load, slot) for members in self.busy.values() for load, slot in members)
        for heat, slot in hottest[: len(self.weights) - 1]:
            caps = self._caps(factor)
            biggest = max(self.weights[shard] for shard in caps)
            choice = [shard for shard in caps if self.weights[shard] == biggest]
            if -heat <= caps[choice[0]]:
                break
            source = self.owners[slot]
            host = source if source in choice else min(choice, key=lambda s: self.load[s])
            self._move(slot, host)
            self.busy[host].remove((-heat, slot))
            self.hosts[host] = -heat
            pinned.append(slot)
        return tuple(pinned)

    def level(self, factor: float) -> None:
        """Move slots off the shards above their cap to the one with most room."""
        caps = self._caps(factor)
        stuck: set[ShardId] = set()
        while True:
            over = {
                shard: load - caps.get(shard, self.hosts.get(shard, 0.0))
                for shard, load in self.load.items()
                if shard not in stuck
            }
            source = max(over, key=lambda s: over[s], default=None)
            if source is None or over[source] <= self.total * _ROUNDING:
                return
            target = max(caps, key=lambda s: caps[s] - self.load[s])
            slot = self._choose(source, over[source], caps[target] - self.load[target])
            if slot is None:
                slot = self._choose_above_cap(source, target)
            if slot is None:
                stuck.add(source)
            else:
                self._move(slot, target)

    def _caps(self, factor: float) -> dict[ShardId, float]:
        """The most load for each shard that hosts no pinned slot."""
        shared = {shard: w for shard, w in self.weights.items() if shard not in self.hosts}
        unit = factor * (self.total - sum(self.hosts.values())) / sum(shared.values())
        return {shard: unit * weight for shard, weight in shared.items()}

    def _choose(self, source: ShardId, excess: float, room: float) -> Slot | None:
        """The smallest slot that takes the excess away, else the largest there is room for."""
        members = self.busy[source]
        at = bisect_left(members, (excess,))
        if at == len(members) or members[at][0] > room:
            at = bisect_right(members, room, key=lambda member: member[0]) - 1
        return members[at][1] if at >= 0 else None

    def _choose_above_cap(self, source: ShardId, target: ShardId) -> Slot | None:
        """The smallest slot, if the target stays emptier with it than the source was.

        Every such move lowers the fuller of two shards, so levelling comes to an end.
        """
        if not self.busy[source]:
            return None
        load, slot = self.busy[source][0]
        filled = (self.load[target] + load) * self.weights.get(source, 0)
        return slot if filled < self.load[source] * self.weights[target] else None

    def _move(self, slot: Slot, target: ShardId) -> None:
        source, load = self.owners[slot], self.loads[slot]
        self.owners[slot] = target
        self.load[source] -= load
        self.load[target] += load
        self.busy[source].remove((load, slot))
        insort(self.busy[target], (load, slot))
