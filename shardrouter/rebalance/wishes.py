"""Obey what operators ask of a move, where that holds no writer up."""

from collections.abc import Callable, Mapping
from typing import Final

from shardrouter.rebalance.cutover.ready import PUT_OFF
from shardrouter.rebalance.cutover.retreat import GIVEN_UP, REVERSIBLE
from shardrouter.rebalance.ending.soak import LOST
from shardrouter.rebalance.job import Job
from shardrouter.topology import CUTTING_OVER, Direction, MoveState, Wish, may_wish


def obey(job: Job) -> None:
    """Carry out the wish there is, if the state allows it now; later otherwise."""
    wish = job.see_wish()
    if wish is Wish.ABORT and job.move.state in REVERSIBLE:
        job.advance(MoveState.RETREATING, reason=GIVEN_UP)
    if wish is None or job.move.state in CUTTING_OVER:
        return  # the retreat looks at the wish, the commit comes too late for it
    if may_wish(wish, job.move.state, job.move.direction):
        _OBEY[wish](job)
    else:
        job.amend(wish=None)  # it came too late


def _hold(job: Job) -> None:
    job.amend(held=True, wish=None)


def _go_on(job: Job) -> None:
    job.amend(held=False, wish=None)


def _retry(job: Job) -> None:
    facts = {name: value for name, value in job.facts.items() if name != PUT_OFF}
    job.amend(attention=None, held=False, facts=facts, wish=None)


def _abort(job: Job) -> None:
    if job.move.state is MoveState.ABORTING:
        job.amend(wish=None, held=False)
    elif job.move.state is MoveState.PLANNED:
        job.advance(MoveState.ABORTED, reason=GIVEN_UP)
    else:
        job.advance(MoveState.ABORTING, reason=GIVEN_UP, held=False, attention=None)


def _reverse(job: Job) -> None:
    if LOST in job.facts:
        job.amend(attention=f"the slots cannot be brought back: {job.facts[LOST]}", wish=None)
        return
    job.advance(
        MoveState.READY,
        reason="an operator wants the slots back",
        direction=Direction.BACK,
        held=False,
        attention=None,
    )


def _finish(job: Job) -> None:
    if job.move.state is MoveState.CLEANING:
        job.amend(wish=None, held=False)
    elif job.move.state is MoveState.READY:
        job.advance(
            MoveState.SOAKING,
            reason="an operator leaves the slots where they are",
            direction=Direction.FORWARD,
        )
    else:
        job.advance(
            MoveState.CLEANING,
            reason="an operator does not want to go back",
            held=False,
            attention=None,
        )


_OBEY: Final[Mapping[Wish, Callable[[Job], None]]] = {
    Wish.HOLD: _hold,
    Wish.GO_ON: _go_on,
    Wish.RETRY: _retry,
    Wish.ABORT: _abort,
    Wish.REVERSE: _reverse,
    Wish.FINISH: _finish,
}
