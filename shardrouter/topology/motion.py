"""What a topology says of slots that are on their way from one shard to another. Values only.

Routers need no more than this: whether writes are held, and which shards hold rows that are not
theirs. How far a move is, and who carries it out, is in ``move`` and in the catalog.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from shardrouter.topology.ids import ShardId, Slot
from shardrouter.topology.position import Position

Floors = tuple[tuple[ShardId, Position], ...]


class Motion(StrEnum):
    """How slots in motion are to be treated."""

    COPYING = "copying"
    """The source owns them as before; the target holds rows that are not its own."""

    PAUSED = "paused"
    """No shard takes writes to them, and routers hold them back. The owner is who owns them by the
    topology: the source before the commit, the target after it."""

    MOVED = "moved"
    """The target owns them; the source still holds rows that are not its own."""


@dataclass(frozen=True, slots=True)
class SlotsInMotion:
    """Slots that one move carries from ``source`` to ``target``."""

    move: int
    """The number of the move in the catalog."""

    slots: tuple[Slot, ...]
    """Ascending."""

    source: ShardId
    target: ShardId
    motion: Motion

    def owner(self, owners: Sequence[ShardId]) -> ShardId:
        """Return who owns the slots. Invariant of a topology: all have the same owner."""
        return owners[self.slots[0]]

    def stranger(self, owners: Sequence[ShardId]) -> ShardId:
        """Return the shard that may hold rows of the slots without owning them."""
        return self.target if self.owner(owners) == self.source else self.source


def motion_problems(
    motions: Sequence[SlotsInMotion], owners: Sequence[ShardId], known: Collection[ShardId]
) -> Iterator[str]:
    """Yield what is wrong with the motions of a topology."""
    for move, count in Counter(motion.move for motion in motions).items():
        if count > 1:
            yield f"move {move} is in motion {count} times"
    for slot, count in Counter(slot for motion in motions for slot in motion.slots).items():
        if count > 1:
            yield f"slot {slot} is in {count} motions"
    for motion in motions:
        for problem in _problems(motion, owners, known):
            yield f"move {motion.move}: {problem}"


def floor_problems(floors: Floors, known: Collection[ShardId]) -> Iterator[str]:
    """Yield what is wrong with the floors of a topology."""
    for shard, count in Counter(shard for shard, _ in floors).items():
        if count > 1:
            yield f"shard {shard} has {count} floors"
        if shard not in known:
            yield f"unknown shard {shard!r} has a floor"


def _problems(
    motion: SlotsInMotion, owners: Sequence[ShardId], known: Collection[ShardId]
) -> Iterator[str]:
    for shard in (motion.source, motion.target):
        if shard not in known:
            yield f"{shard!r} is an unknown shard"
    if motion.source == motion.target:
        yield f"source and target are both {motion.source}"
    if not motion.slots:
        yield "no slots are in motion"
    elif list(motion.slots) != sorted(set(motion.slots)):
        yield "its slots are not in ascending order"
    elif motion.slots[0] < 0 or motion.slots[-1] >= len(owners):
        yield f"its slots are not all from 0 to {len(owners) - 1}"
    else:
        yield from _owner_problems(motion, {owners[slot] for slot in motion.slots})


def _owner_problems(motion: SlotsInMotion, owners: set[ShardId]) -> Iterator[str]:
    may_own = {
        Motion.COPYING: ({motion.source},),
        Motion.PAUSED: ({motion.source}, {motion.target}),
        Motion.MOVED: ({motion.target},),
    }
    if owners not in may_own[motion.motion]:
        yield (
            f"its slots are {motion.motion} from {motion.source} to {motion.target} but owned by"
            f" {' and '.join(sorted(owners))}"
        )
