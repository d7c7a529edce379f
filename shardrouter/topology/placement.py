"""Plan which shard owns each slot: exact quotas, fewest moves.

The *sticky quota*: every shard gets a quota of the slots by its weight, keeps its slots up to the
quota, and what is over goes round the ring to the first shard with room. Pure and deterministic:
every tool computes the same plan from the same owners and weights.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from shardrouter.errors import SettingsError
from shardrouter.topology.ids import ShardId, Slot, is_valid_slot_count
from shardrouter.topology.ring import Ring


@dataclass(frozen=True, slots=True)
class SlotMove:
    """One slot that changes its owner."""

    slot: Slot
    source: ShardId
    target: ShardId


def plan_owners(
    current: Sequence[ShardId] | None,
    weights: Mapping[ShardId, int],
    slots: int,
    *,
    slack: float = 0.0,
    closed: Collection[ShardId] = (),
    frozen: Collection[ShardId] = (),
    pinned: Collection[Slot] = (),
) -> tuple[ShardId, ...]:
    """Return the owner of each slot, by slot number.

    ``current`` is the owners now, None for a new fleet. A shard of weight 0 is drained; one
    that is not in ``weights`` is gone. ``slack`` lets a shard keep that part more than its
    quota (0.02 to 0.05 saves moves when weights change by themselves). ``closed`` shards take
    no new slots, ``frozen`` ones give none either; ``pinned`` slots stay where they are while
    their shard is there.

    Invariant: each shard ends less than one slot from its share (slack, closed, frozen and pinned
    aside), and no plan for these quotas moves fewer slots. Raises SettingsError when no shard
    can take slots.
    """
    _check(current, weights, slots, slack)
    now: Sequence[ShardId | None] = current if current is not None else [None] * slots
    counts = Counter(owner for owner in now if owner is not None)
    quotas = _quotas(slots, weights, counts, closed, frozen)
    ring = Ring({shard: weight for shard, weight in weights.items() if weight > 0})
    kept = _keep(now, quotas, ring, slack, pinned)
    return _place(kept, quotas, ring, slots)


def list_moves(before: Sequence[ShardId], after: Sequence[ShardId]) -> tuple[SlotMove, ...]:
    """Return the slots whose owner changes, always next one of the shard with most left to give."""
    by_source: dict[ShardId, list[SlotMove]] = defaultdict(list)
    for slot, (source, target) in enumerate(zip(before, after, strict=True)):
        if source != target:
            by_source[source].append(SlotMove(Slot(slot), source, target))
    ranked = [
        (at - len(own), move.source, move)
        for own in by_source.values()
        for at, move in enumerate(own)
    ]
    return tuple(move for _, _, move in sorted(ranked, key=lambda item: item[:2]))


def _share_out(
    total: int, weights: Mapping[ShardId, int], counts: Mapping[ShardId, int]
) -> dict[ShardId, int]:
    """Split a total by weight in whole numbers, by largest remainder.

    Equal remainders go to a shard that would have to give a slot away, then to the lower id.
    """
    whole = sum(weights.values())
    quotas = {shard: total * weight // whole for shard, weight in weights.items()}
    left = total - sum(quotas.values())
    by_remainder = sorted(
        weights, key=lambda s: (-(total * weights[s] % whole), counts.get(s, 0) <= quotas[s], s)
    )
    for shard in by_remainder[:left]:
        quotas[shard] += 1
    return quotas


def _check(
    current: Sequence[ShardId] | None, weights: Mapping[ShardId, int], slots: int, slack: float
) -> None:
    if not is_valid_slot_count(slots):
        raise ValueError(f"{slots} slots is not a power of two from 16 to 16384")
    if current is not None and len(current) != slots:
        raise ValueError(f"{len(current)} owners for {slots} slots")
    if slack < 0:
        raise ValueError("slack is negative")
    if any(weight < 0 for weight in weights.values()) or not any(weights.values()):
        raise SettingsError(
            "no shard can take slots: every weight is 0 or less",
            hint="give at least one shard a positive weight, or add a shard first",
        )


def _quotas(
    slots: int,
    weights: Mapping[ShardId, int],
    counts: Mapping[ShardId, int],
    closed: Collection[ShardId],
    frozen: Collection[ShardId],
) -> dict[ShardId, int]:
    """Quotas by weight, where a closed shard gets no more than it has and others get the rest."""
    fixed = {shard: counts.get(shard, 0) for shard in weights if shard in frozen}
    while True:
        free = {shard: weight for shard, weight in weights.items() if shard not in fixed}
        if not any(free.values()):
            raise SettingsError(
                "no shard can take slots: those with weight are closed to new ones",
                hint="open a shard, or give an open one a positive weight",
            )
        quotas = _share_out(slots - sum(fixed.values()), free, counts)
        short = {s: counts.get(s, 0) for s in free if s in closed and counts.get(s, 0) < quotas[s]}
        if not short:
            return quotas | fixed
        fixed |= short


def _keep(
    now: Sequence[ShardId | None],
    quotas: Mapping[ShardId, int],
    ring: Ring,
    slack: float,
    pinned: Collection[Slot],
) -> dict[Slot, ShardId]:
    """The slots that stay: the pinned ones, then those the ring would give, then the others."""
    own: dict[ShardId, list[Slot]] = defaultdict(list)
    for slot, shard in enumerate(now):
        if shard is not None and shard in quotas:
            own[shard].append(Slot(slot))
    kept: dict[Slot, ShardId] = {}
    stay = frozenset(pinned)
    for shard, mine in own.items():
        limit = max(int(quotas[shard] * (1 + slack)), sum(slot in stay for slot in mine))
        if len(mine) > limit:
            mine.sort(key=lambda s: (s not in stay, ring.owner(s) != shard, ring.point(s)))
        kept |= dict.fromkeys(mine[:limit], shard)
    return kept


def _place(
    kept: Mapping[Slot, ShardId], quotas: Mapping[ShardId, int], ring: Ring, slots: int
) -> tuple[ShardId, ...]:
    # There is always room: the quotas add up to the slots, and nobody is counted above its own.
    load = Counter(kept.values())
    owners: list[ShardId] = []
    for slot in map(Slot, range(slots)):
        shard = kept.get(slot)
        if shard is None:
            shard = ring.owner(slot)
            if load[shard] >= quotas[shard]:
                shard = next(s for s in ring.walk(slot) if load[s] < quotas[s])
            load[shard] += 1
        owners.append(shard)
    return tuple(owners)
