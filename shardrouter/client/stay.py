"""One open piece of work, and what slots in motion mean for it.

Pure. A stay begins before a connection is taken and ends when it is given back: what has no
connection holds nothing up.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from shardrouter.topology import Motion, ShardId, Slot, SlotsInMotion, Topology


@dataclass(slots=True, weakref_slot=True, eq=False)
class Stay:
    """A unit of work, a transaction over shards or a gather, while it is under way."""

    slots: tuple[Slot, ...] = ()
    """The slots of its keys. Empty: it may touch any row of the shard, or of all shards."""

    shard: ShardId | None = None
    """The one shard of a stay without slots; None: all shards."""

    writes: bool = False
    waits: bool = False
    """It does not begin while its slots are paused. Writers do not, and neither do reads that may
    go nowhere but to replicas (see ``needs_primary``)."""

    topology: Topology | None = None
    """What it began under; None while that is being found out."""

    entry: Any = None
    """Its place among all that are open."""

    def began_before(self, topology: Topology) -> bool:
        """True when it may route by an earlier topology."""
        return self.topology is None or self.topology.epoch < topology.epoch


def held_by(topology: Topology, stay: Stay) -> SlotsInMotion | None:
    """Return the motion that lets this stay not begin now, or None.

    A stay on a whole shard is held where the slots' owner is: before the cutover's commit that is
    the shard that loses them, which is to be drained, and after it the shard whose guards do not
    admit them yet.
    """
    if not stay.waits:
        return None
    return next(_paused(topology, stay), None)


def needs_primary(topology: Topology, stay: Stay) -> bool:
    """True when this stay may read, but not from a replica.

    Reads of paused slots go on, at the owner that the topology names. Before the cutover's commit
    that is the losing shard: it has every row, and no shard takes writes to them. After the commit
    it is the gaining shard: its primary has every row, for the commit waited for that, but its
    replicas may still be replaying; the floor that keeps such replicas out is published with the
    end of the pause. The topology does not tell which of the two it is, as a move may go either
    way, and the primary is right in both.
    """
    return next(_paused(topology, stay), None) is not None


def owners_of_paused(topology: Topology) -> frozenset[ShardId]:
    """Return the shards whose replicas a read of all rows must leave alone, see above."""
    return frozenset(
        motion.owner(topology.owners)
        for motion in topology.motions
        if motion.motion is Motion.PAUSED
    )


def keeps_writers(topology: Topology, stay: Stay) -> bool:
    """True when this stay may still write to paused slots where they were."""
    if not stay.writes or not stay.began_before(topology):
        return False
    return next(_paused(topology, stay), None) is not None


def keeps_readers(topology: Topology, stay: Stay) -> bool:
    """True when this stay may read rows of slots in motion by an earlier topology."""
    if stay.slots and topology.moving_slots.isdisjoint(stay.slots):
        return False
    return stay.began_before(topology) and any(
        _touches(motion, stay, (motion.source, motion.target)) for motion in topology.motions
    )


def _paused(topology: Topology, stay: Stay) -> Iterator[SlotsInMotion]:
    """Yield the paused motions whose rows the stay may touch where they are owned."""
    if stay.slots and topology.paused_slots.isdisjoint(stay.slots):
        return
    for motion in topology.motions:
        if motion.motion is Motion.PAUSED:
            owner = motion.owner(topology.owners)
            if _touches(motion, stay, (owner,)):
                yield motion


def _touches(motion: SlotsInMotion, stay: Stay, shards: tuple[ShardId, ...]) -> bool:
    """True when the stay may touch the motion's rows; without slots, on one of these shards."""
    if stay.slots:
        return any(slot in motion.slots for slot in stay.slots)
    return stay.shard is None or stay.shard in shards
