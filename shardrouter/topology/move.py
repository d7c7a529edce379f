"""The states of a move as one table: what is done in each, what a crash leaves, what follows.

Values only. The mover carries the steps out, the catalog keeps the state. A state names the work
that is to be done now; that work may be repeated from its beginning by any process at any time.
docs/flows/move.md is drawn from this table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class MoveState(StrEnum):
    """What is to be done next in a move. Stored by name in the catalog."""

    PLANNED = "planned"
    PREPARING = "preparing"
    COPYING = "copying"
    CATCHING_UP = "catching_up"
    VERIFYING = "verifying"
    READY = "ready"
    PAUSING = "pausing"
    FENCING = "fencing"
    DRAINING = "draining"
    COMMITTED = "committed"
    SOAKING = "soaking"
    CLEANING = "cleaning"
    DONE = "done"
    RETREATING = "retreating"
    RESTARTING = "restarting"
    ABORTING = "aborting"
    ABORTED = "aborted"
    REVERSED = "reversed"


class Direction(StrEnum):
    """Which way the next cutover goes."""

    FORWARD = "forward"
    BACK = "back"
    """After ``move reverse``: the slots return to where they came from, without a copy."""


class Wish(StrEnum):
    """What an operator asks of a move. It is noted in the catalog; the mover obeys it."""

    HOLD = "hold"
    """Rest, where resting holds no writer up."""

    GO_ON = "go_on"
    ABORT = "abort"
    """Give the move up, with the slots where they were."""

    REVERSE = "reverse"
    """Bring the slots back to the source, without a copy."""

    FINISH = "finish"
    """Do not soak any longer: delete the losing shard's copy."""

    RETRY = "retry"
    """What needed attention is mended: try again."""


@dataclass(frozen=True, slots=True)
class StateFacts:
    """One row of the table."""

    following: frozenset[MoveState]
    does: str
    """The work of the state, for people."""

    leaves: str
    """What a crash during that work leaves, and who goes on."""


_S = MoveState


def _row(does: str, leaves: str, *following: MoveState) -> StateFacts:
    return StateFacts(frozenset(following), does, leaves)


STATES: Final[Mapping[MoveState, StateFacts]] = {
    _S.PLANNED: _row(
        "check that source and target can take part; change nothing",
        "nothing",
        _S.PREPARING,
        _S.ABORTED,
    ),
    _S.PREPARING: _row(
        "tell routers that the target will hold foreign rows; lock DDL, TRUNCATE and key changes;"
        " make publication and replication slot",
        "locks and artefacts, each with a record that was written first; the step is repeated",
        _S.COPYING,
        _S.RESTARTING,
        _S.ABORTING,
    ),
    _S.COPYING: _row(
        "copy the rows of the slots to the target",
        "safe copy: Postgres goes on by itself; fast copy: its snapshot is gone, a new attempt",
        _S.CATCHING_UP,
        _S.RESTARTING,
        _S.ABORTING,
    ),
    _S.CATCHING_UP: _row(
        "apply what was written meanwhile until the target is close behind; ANALYZE it",
        "the stream goes on by itself; the step is repeated",
        _S.VERIFYING,
        _S.RESTARTING,
        _S.ABORTING,
    ),
    _S.VERIFYING: _row(
        "compare the rows on both sides, chunk by chunk, while the stream runs",
        "the chunks that were compared; the step goes on behind the last one",
        _S.READY,
        _S.RESTARTING,
        _S.ABORTING,
    ),
    _S.READY: _row(
        "stay close behind and wait for the word to cut over; prepare the reverse stream",
        "nothing new; the step is repeated",
        _S.PAUSING,
        _S.RESTARTING,
        _S.ABORTING,
        _S.SOAKING,
    ),
    _S.PAUSING: _row(
        "have routers hold writes to the slots; wait until open transactions have ended",
        "held writes, for as long as routers hold them; the next mover goes on or retreats",
        _S.FENCING,
        _S.RETREATING,
    ),
    _S.FENCING: _row(
        "replace the guards of the losing shard under lock: nothing writes to the slots any more;"
        " leave a marker behind the last write",
        "the slots may be fenced on the losing shard; the next mover goes on or retreats",
        _S.DRAINING,
        _S.RETREATING,
    ),
    _S.DRAINING: _row(
        "wait for the marker on the gaining shard and its replicas; compare what was in flux; set"
        " sequences; make the reverse stream ready",
        "fenced slots; the next mover goes on or retreats",
        _S.COMMITTED,
        _S.RETREATING,
    ),
    _S.COMMITTED: _row(
        "let the gaining shard's guards admit the slots; have routers go on; start the reverse"
        " stream",
        "the slots belong to the gaining shard for good; the next mover finishes the step",
        _S.SOAKING,
        _S.CLEANING,
    ),
    _S.SOAKING: _row(
        "keep the losing shard's copy current by the reverse stream",
        "the stream goes on by itself",
        _S.CLEANING,
        _S.READY,
    ),
    _S.CLEANING: _row(
        "wait until no router reads the losing shard's copy; drop streams; delete the copy, paced",
        "less and less of the copy; the step goes on",
        _S.DONE,
        _S.REVERSED,
    ),
    _S.RETREATING: _row(
        "lift the fence, then have routers go on writing where they wrote before",
        "the slots stay where they are, perhaps still fenced; the next mover finishes the step",
        _S.READY,
        _S.RESTARTING,
        _S.ABORTING,
    ),
    _S.RESTARTING: _row(
        "drop the streams of this attempt and delete the rows it copied",
        "a part of them; the step is repeated",
        _S.PREPARING,
        _S.ABORTING,
    ),
    _S.ABORTING: _row(
        "drop the streams, delete the copied rows, lift the locks, tell routers",
        "a part of them; the step is repeated",
        _S.ABORTED,
    ),
    _S.DONE: _row("nothing: the slots live on the target, nothing is left on the source", "-"),
    _S.ABORTED: _row("nothing: the slots stayed where they were", "-"),
    _S.REVERSED: _row("nothing: the slots came back to the source", "-"),
}

OVER: Final = frozenset({_S.DONE, _S.ABORTED, _S.REVERSED})
"""Nothing is left to do."""

CUTTING_OVER: Final = frozenset({_S.PAUSING, _S.FENCING, _S.DRAINING, _S.COMMITTED, _S.RETREATING})
"""Writers wait: a mover that dies here is replaced at once."""

POINT_OF_NO_RETURN: Final = _S.COMMITTED
"""Before it a move can be aborted; from it on it goes forward (``move reverse`` is a move back)."""


def may_follow(state: MoveState, following: MoveState) -> bool:
    """True when the table allows that step."""
    return following in STATES[state].following


def may_abort(state: MoveState, direction: Direction) -> bool:
    """True while the move can still be given up with the slots where they were."""
    before = state not in OVER and state not in (_S.COMMITTED, _S.SOAKING, _S.CLEANING)
    return before and direction is Direction.FORWARD


def may_wish(wish: Wish, state: MoveState, direction: Direction) -> bool:
    """True when a move in that state can still do, now or later, what an operator asks."""
    match wish:
        case Wish.HOLD | Wish.GO_ON | Wish.RETRY:
            return state not in OVER
        case Wish.ABORT:
            return may_abort(state, direction)
        case Wish.REVERSE:
            return state in (_S.COMMITTED, _S.SOAKING) and direction is Direction.FORWARD
        case Wish.FINISH:
            # A move that is on its way back may be left where it is: then it soaks again.
            return state in (_S.COMMITTED, _S.SOAKING, _S.CLEANING) or (
                state is _S.READY and direction is Direction.BACK
            )
