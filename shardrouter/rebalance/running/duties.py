"""What a router does for a move that nobody carries out, and when. Pure.

A process that dies leaves its name in the row, with a lease that is over; one that was told to
stop, or that came to where it should stop, takes its name away. The first is replaced. The second
is an operator's: routers only watch what his move costs, and end what he cannot want otherwise.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

from shardrouter.catalog import Move
from shardrouter.rebalance.mover import Stops
from shardrouter.topology import CUTTING_OVER, OVER, MoveState, Wish

LOOK_EVERY_SECONDS: Final = 10.0  # at 100 MB of WAL a second that is 1 GB late

LOOKING: Final = "looking: "
"""Before the name of who only looks at a move that is an operator's: should it die, it still is."""


class Duty(StrEnum):
    """What is to be done now."""

    FINISH_CUTOVER = "finish the cutover"
    """Writers wait."""

    CLEAN_UP = "clean up"
    """To its end: nothing is left to decide."""

    CARRY_ON = "carry on"
    """As far as the process that died would have."""

    LOOK = "look"
    """At what it costs the shards while it rests."""


_S = MoveState

CLEANING_UP: Final = frozenset({_S.SOAKING, _S.CLEANING, _S.ABORTING, _S.RESTARTING})
"""Where a move goes on to its end, or to the next copy, without anybody's word."""

LOOKED_AT: Final = frozenset({_S.COPYING, _S.CATCHING_UP, _S.VERIFYING, _S.READY, _S.SOAKING})
"""States in which a replication slot keeps WAL."""

UNFINISHED: Final = frozenset(_S) - OVER - {_S.PLANNED}
"""A move that is planned has changed nothing yet: nothing is to be done for it."""

STOPS: Final[Mapping[Duty, Stops]] = {
    Duty.FINISH_CUTOVER: Stops(only=CUTTING_OVER),
    Duty.CLEAN_UP: Stops(only=CLEANING_UP),
    Duty.CARRY_ON: Stops(),
    Duty.LOOK: Stops(only=CLEANING_UP),
}
"""How far that goes."""


def duties_of(move: Move, grace_seconds: float, *, may_copy: bool = True) -> Sequence[Duty]:
    """Return what is to be done for a move as the catalog has just shown it: the first of these
    for which there is somebody.

    grace_seconds: so long an operator may come first, but for a cutover. may_copy: whether the
    rows of a fast copy may go through this process.
    """
    if move.state not in UNFINISHED or move.lease_seconds_left > 0:
        return ()
    if move.state in CUTTING_OVER:
        return (Duty.FINISH_CUTOVER,)
    wanted = []
    if not is_resting(move):
        if _is_to_end(move, grace_seconds):
            wanted.append(Duty.CLEAN_UP)
        elif _is_to_go_on(move, grace_seconds) and (may_copy or not _carries_rows(move)):
            wanted.append(Duty.CARRY_ON)
    if move.state in LOOKED_AT and move.untouched_seconds >= LOOK_EVERY_SECONDS:
        wanted.append(Duty.LOOK)
    return wanted


def is_resting(move: Move) -> bool:
    """True when an operator wants the move to rest, or must mend it first."""
    return move.held or move.wish is Wish.HOLD or move.attention is not None


def is_abandoned(move: Move) -> bool:
    """True when the process that carried the move out has died, if no lease holds."""
    return move.owner is not None and not move.owner.startswith(LOOKING)


def _is_to_end(move: Move, grace_seconds: float) -> bool:
    if move.state is MoveState.SOAKING:
        return move.state_age_seconds >= move.soak_seconds + grace_seconds
    return move.state in CLEANING_UP and move.silent_seconds >= grace_seconds


def _is_to_go_on(move: Move, grace_seconds: float) -> bool:
    may_go_on = is_abandoned(move) and move.state is not MoveState.SOAKING
    return may_go_on and move.silent_seconds >= grace_seconds


def _carries_rows(move: Move) -> bool:
    """True when who carries the move on has its rows to carry, too: Postgres does not."""
    return move.copy_mode == "fast" and move.state in {MoveState.PREPARING, MoveState.COPYING}
