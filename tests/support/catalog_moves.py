"""Moves in a catalog of their own, brought where a test wants them."""

from shardrouter.catalog import Move, MoveStore, NewMove
from shardrouter.topology import (
    Motion,
    MoveState,
    ShardId,
    Slot,
    SlotsInMotion,
    Topology,
)

S0, S1 = ShardId("s0"), ShardId("s1")
EVEN = (Slot(0), Slot(2), Slot(4))  # of s0, see small_topology
OTHER = (Slot(6), Slot(8))


def made(moves: MoveStore, slots: tuple[Slot, ...] = EVEN) -> Move:
    return moves.create(NewMove(slots, S0, S1), actor="ann", reason="balance")


def claimed(moves: MoveStore, slots: tuple[Slot, ...] = EVEN) -> Move:
    return moves.claim(made(moves, slots).number, "mover@1", 10.0)


def brought_to(moves: MoveStore, *states: MoveState) -> Move:
    move = claimed(moves)
    for state in states:
        move = moves.advance(move, state, reason=f"to {state}")
    return move


TO_READY = (
    MoveState.PREPARING,
    MoveState.COPYING,
    MoveState.CATCHING_UP,
    MoveState.VERIFYING,
    MoveState.READY,
)
TO_DRAINING = (*TO_READY, MoveState.PAUSING, MoveState.FENCING, MoveState.DRAINING)


def in_motion(move: Move, motion: Motion) -> SlotsInMotion:
    return SlotsInMotion(move.number, move.slots, move.source, move.target, motion)


def with_paused_at_target(topology: Topology, move: Move) -> Topology:
    owners = topology.owners_with(move.slots, move.target)
    return topology.with_motion(in_motion(move, Motion.PAUSED), owners=owners)
