"""What slots in motion mean for one session: whether it waits, and whether its rows went away.

Thinking only: what the session wishes and the topology in, a decision out. ``holding`` carries it
out; docs/flows/proxy.md tells the whole.
"""

from typing import Protocol

from shardrouter.topology import Motion, ShardId, Slot, SlotsInMotion, Topology


class Wishes(Protocol):
    """What a session named. ``choice.Choice`` is one."""

    shard: str | None
    slot: int | None
    is_any_shard_right: bool
    least_epoch: int


def named_slot(wishes: Wishes) -> Slot | None:
    """Return the slot of the key that the session named; a shard's name counts more."""
    return None if wishes.shard is not None or wishes.slot is None else Slot(wishes.slot)


def must_wait(wishes: Wishes, topology: Topology, *, reads: bool) -> bool:
    """True while what the session begins now has to wait for another topology.

    reads: it says that it only reads.
    """
    if topology.epoch < wishes.least_epoch:
        return True
    if reads or wishes.is_any_shard_right:
        return False
    slot = named_slot(wishes)
    if slot is not None:
        return topology.is_paused(slot)
    return wishes.shard is not None and hands_over(topology, wishes.shard)


def hands_over(topology: Topology, shard: str) -> bool:
    """True when the shard owns slots that no shard takes writes to now.

    Before the commit it is the one that loses them: its guards are being replaced. After it, it is
    the one that gains them, and does not admit their rows yet.
    """
    return any(
        motion.motion is Motion.PAUSED and motion.owner(topology.owners) == shard
        for motion in topology.motions
    )


def motion_for(wishes: Wishes, topology: Topology) -> SlotsInMotion | None:
    """Return what keeps the session waiting, or None."""
    slot = named_slot(wishes)
    for motion in topology.motions:
        if motion.motion is Motion.PAUSED and (
            slot in motion.slots
            if slot is not None
            else motion.owner(topology.owners) == wishes.shard
        ):
            return motion
    return None


def new_home(wishes: Wishes, topology: Topology, shard: ShardId) -> ShardId | None:
    """Return where rows are that a session at work on ``shard`` would miss there; None: none.

    A session that named nothing took the shard for the whole fleet, when it was.
    """
    if wishes.shard is not None:
        return None
    slot = named_slot(wishes)
    if slot is not None:
        owner = topology.owners[slot]
        return owner if owner != shard else None
    return next((owner for owner in topology.owners if owner != shard), None)


def concerns(wishes: Wishes, topology: Topology, shard: ShardId) -> bool:
    """True when a session at work on ``shard`` has to be looked at before it begins anew."""
    slot = named_slot(wishes)
    if slot is not None:
        return slot in topology.moving_slots or topology.owners[slot] != shard
    return hands_over(topology, shard) or (
        wishes.shard is None and new_home(wishes, topology, shard) is not None
    )
