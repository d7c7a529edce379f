"""What each publication of a move makes of a topology. Pure.

Forward the slots go from source to target; back they return. The owner and the motion say all
that routers and guards need; whatever else the topology holds stays as it is.
"""

from shardrouter.catalog import Move
from shardrouter.topology import (
    Direction,
    Motion,
    Position,
    ShardId,
    SlotsInMotion,
    Topology,
)


def with_foreign_rows_on_target(topology: Topology, move: Move) -> Topology:
    """Return the next topology: the source owns the slots, the target holds rows not its own."""
    return _next(topology, move, Motion.COPYING, move.source)


def with_foreign_rows_on_source(topology: Topology, move: Move) -> Topology:
    """Return the next topology: the target owns the slots, the source holds rows not its own."""
    return _next(topology, move, Motion.MOVED, move.target)


def paused(topology: Topology, move: Move) -> Topology:
    """Return the next topology: nobody writes to the slots, the losing shard owns them still."""
    return _next(topology, move, Motion.PAUSED, move.losing)


def handed_over(topology: Topology, move: Move) -> Topology:
    """Return the next topology: nobody writes to the slots, the gaining shard owns them now."""
    return _next(topology, move, Motion.PAUSED, move.gaining)


def flowing(topology: Topology, move: Move, floor: Position) -> Topology:
    """Return the next topology: writes flow on the gaining shard.

    floor: what its replicas must have replayed before they may answer.
    """
    is_forward = move.direction is Direction.FORWARD
    motion = Motion.MOVED if is_forward else Motion.COPYING
    floors = topology.floors_with(move.gaining, floor)
    return _next(topology, move, motion, move.gaining, floors=floors)


def as_before(topology: Topology, move: Move) -> Topology:
    """Return the next topology after a cutover that was put off: writes flow where they did."""
    if move.direction is Direction.FORWARD:
        return with_foreign_rows_on_target(topology, move)
    return with_foreign_rows_on_source(topology, move)


def at_rest(topology: Topology, move: Move, cleaned: ShardId, floor: Position) -> Topology:
    """Return the next topology, without the motion of this move.

    floor: behind the last deletion on ``cleaned``. A replica that has not replayed it would show
    foreign rows, which routers do not leave out any more.
    """
    return topology.without_motion(move.number, floors=topology.floors_with(cleaned, floor))


def is_in(topology: Topology, move: Move, motion: Motion, owner: ShardId) -> bool:
    """True when the topology treats the slots of the move like that."""
    found = topology.motion_of(move.number)
    return found is not None and found.motion is motion and found.owner(topology.owners) == owner


def _next(
    topology: Topology, move: Move, motion: Motion, owner: ShardId, **changes: object
) -> Topology:
    wanted = SlotsInMotion(move.number, move.slots, move.source, move.target, motion)
    owners = topology.owners_with(move.slots, owner)
    return topology.with_motion(wanted, owners=owners, **changes)
