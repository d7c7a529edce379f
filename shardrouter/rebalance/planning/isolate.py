"""Moves that an operator makes by hand: of a list of slots, of the slot of a hot key. Pure."""

from collections.abc import Collection

from shardrouter.errors import MoveRefused
from shardrouter.rebalance.planning.plan import Batch
from shardrouter.rebalance.planning.slot_list import describe_slots
from shardrouter.topology import Slot, Topology


def isolate(topology: Topology, slot: Slot, target: str) -> Batch:
    """Return the move of one slot. Raises UnknownShard, MoveRefused when it is there already."""
    return move_of(topology, [slot], topology.owner(slot).id, target)


def move_of(topology: Topology, slots: Collection[Slot], source: str, target: str) -> Batch:
    """Return a move made by hand.

    Raises UnknownShard, or MoveRefused when the source does not own every slot.
    """
    giver, taker = topology.shard(source).id, topology.shard(target).id
    if giver == taker:
        raise MoveRefused(
            f"the slots are on shard {giver} already",
            shard=giver,
            epoch=topology.epoch,
            hint="name another shard; `shardrouter shard list` shows them",
        )
    wanted = tuple(sorted(set(slots)))
    _check_numbers(topology, wanted)
    foreign = [slot for slot in wanted if topology.owners[slot] != giver]
    if foreign:
        raise MoveRefused(
            f"shard {giver} does not own slot {describe_slots(foreign, 5)}"
            f" ({topology.owners[foreign[0]]} owns {foreign[0]})",
            shard=giver,
            epoch=topology.epoch,
            hint="`shardrouter topology show -o json` lists the slots of each shard",
        )
    return Batch(giver, taker, wanted)


def _check_numbers(topology: Topology, slots: tuple[Slot, ...]) -> None:
    if not slots:
        raise MoveRefused("no slot was named", epoch=topology.epoch, hint="--slots 10-20,99")
    if slots[0] < 0 or slots[-1] >= topology.slots:
        raise MoveRefused(
            f"there is no slot {slots[0] if slots[0] < 0 else slots[-1]}",
            epoch=topology.epoch,
            hint=f"slots are numbered 0 to {topology.slots - 1}",
        )
