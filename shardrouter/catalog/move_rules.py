"""Whether a move may be made, and whether an operator may ask that of it now."""

from typing import Any

from sqlalchemy import Connection, select

from shardrouter.catalog.current import current_topology
from shardrouter.catalog.move_records import Move, NewMove
from shardrouter.catalog.move_schema import moves
from shardrouter.errors import MoveRefused
from shardrouter.topology import OVER, MoveState, Slot, Topology, Wish, may_wish


def check_new(connection: Connection, new: NewMove) -> tuple[Slot, ...]:
    """Return the slots of the move, ascending. Raises MoveRefused, UnknownShard.

    Race: the caller has locked the fleet, so nothing that is looked at here changes.
    """
    slots = tuple(sorted(set(new.slots)))
    topology = current_topology(connection)
    if topology is None:
        raise MoveRefused(
            "the fleet has no shards yet", hint="add the first one: `shardrouter shard add`"
        )
    _check_shards(topology, new, slots)
    overlapping = (
        select(moves.c.number, moves.c.slots, moves.c.state)
        .where(moves.c.state.not_in(sorted(OVER)), moves.c.slots.overlap(list(slots)))
        .order_by(moves.c.number)
        .limit(1)
    )
    other = connection.execute(overlapping).one_or_none()
    if other is not None:
        raise _in_another_move(other, slots)
    return slots


def check_wish(found: Move, wish: Wish) -> None:
    """Raise MoveRefused when the move cannot do any more what an operator asks."""
    if not may_wish(wish, found.state, found.direction):
        raise MoveRefused(
            f"move {found.number} is {found.state}, going {found.direction}: it cannot"
            f" {wish.replace('_', ' ')}",
            hint=_what_then(wish, found),
        )
    if wish is Wish.RETRY and found.attention is None:
        raise MoveRefused(
            f"move {found.number} does not wait for an operator",
            hint=f"see `shardrouter move show {found.number}`",
        )
    if found.wish is Wish.ABORT and wish is not Wish.ABORT:
        raise MoveRefused(
            f"{found.wished_by} has asked to abort move {found.number} at"
            f" {found.wished_at:%F %T%z}: {found.wish_reason}",
            hint=f"carry that out with `shardrouter rebalance resume`, or watch it with"
            f" `shardrouter move show {found.number}`",
        )


def _check_shards(topology: Topology, new: NewMove, slots: tuple[Slot, ...]) -> None:
    source, target = topology.shard(new.source), topology.shard(new.target)
    if source.id == target.id or not slots:
        raise MoveRefused(
            "a move needs slots, and a target that is not their source",
            epoch=topology.epoch,
            hint="see which shard owns what with `shardrouter topology show --output json`",
        )
    if slots[0] < 0 or slots[-1] >= topology.slots:
        raise MoveRefused(
            f"slots go from 0 to {topology.slots - 1}: not {slots[0]} to {slots[-1]}",
            epoch=topology.epoch,
            hint="name slots of this fleet",
        )
    strangers = [slot for slot in slots if topology.owners[slot] != source.id]
    if strangers:
        raise MoveRefused(
            f"slot {strangers[0]} belongs to shard {topology.owners[strangers[0]]}"
            f" ({len(strangers)} of {len(slots)} slots are not the source's)",
            shard=source.id,
            epoch=topology.epoch,
            hint="see which shard owns what with `shardrouter topology show --output json`",
        )


def _in_another_move(other: Any, slots: tuple[Slot, ...]) -> MoveRefused:
    both = sorted(set(other.slots) & set(slots))
    return MoveRefused(
        f"slot {both[0]} is in move {other.number} already, which is {other.state}"
        f" ({len(both)} of {len(slots)} slots)",
        hint=f"wait until it is over, or end it: `shardrouter move abort {other.number}`",
    )


def _what_then(wish: Wish, found: Move) -> str:
    if found.state in OVER:
        return "it is over; make another move with `shardrouter move create`"
    if wish is Wish.ABORT and found.state in (MoveState.COMMITTED, MoveState.SOAKING):
        return (
            "its slots are on the target already: bring them back with"
            f" `shardrouter move reverse {found.number}`"
        )
    return f"see what it does with `shardrouter move show {found.number}`"
