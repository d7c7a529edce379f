"""What the mover does about an error: put the cutover off, copy again, give up, ask for help.

A cutover that has begun always ends: by the commit, or by a retreat that lifts the fence.
"""

import logging
from typing import Final

from shardrouter.rebalance.cutover.ready import PUT_OFF
from shardrouter.rebalance.cutover.retreat import AFTERWARDS, REVERSIBLE, pause_before_retry
from shardrouter.rebalance.ending.soak import LOST
from shardrouter.rebalance.job import Job
from shardrouter.rebalance.troubles import Trouble, kind_of, said_of
from shardrouter.topology import CUTTING_OVER, Direction, MoveState, may_follow

logger = logging.getLogger(__name__)

ATTEMPTS: Final = 10
"""Copies from the beginning before an operator is asked."""


def react(job: Job, error: Exception) -> bool:
    """Bring the move into the state that follows; True when the step is to be tried again."""
    kind, said, state = kind_of(error), said_of(error), job.move.state
    logger.warning(
        "move_trouble move=%d state=%s kind=%s epoch=%d reason=%r",
        job.move.number, state, kind, job.topology.epoch, said,
    )  # fmt: skip
    if state in REVERSIBLE:
        _retreat(job, kind, said)
        return False
    if state in CUTTING_OVER:
        return True  # it goes forward, or back, until it is through
    match kind:
        case Trouble.PASSING:
            return True
        case Trouble.NEW_ATTEMPT if job.move.direction is Direction.BACK:
            job.note(**{LOST: said})
            return True
        case Trouble.NEW_ATTEMPT if _may_restart(job):
            job.advance(MoveState.RESTARTING, reason=said)
        case Trouble.GIVE_UP if may_follow(state, MoveState.ABORTING):
            _give_up(job, said)
        case _:
            ask_for_help(job, said)
    return False


def ask_for_help(job: Job, said: str) -> None:
    """Let the move wait for an operator."""
    if job.move.attention != said:
        job.amend(attention=said)


def _give_up(job: Job, said: str) -> None:
    """A full disk does not wait for an operator: neither does the move."""
    job.see_wish()
    job.advance(MoveState.ABORTING, reason=said, held=False, attention=None, wish=None)


def _may_restart(job: Job) -> bool:
    return may_follow(job.move.state, MoveState.RESTARTING) and job.move.attempt < ATTEMPTS


def _retreat(job: Job, kind: Trouble, said: str) -> None:
    """Note what follows the retreat, and begin it."""
    is_forward = job.move.direction is Direction.FORWARD
    facts = job.facts_with(**{AFTERWARDS: [MoveState.READY, said]})
    attention = None
    match kind:
        case Trouble.NEW_ATTEMPT if is_forward and job.move.attempt < ATTEMPTS:
            facts[AFTERWARDS] = [MoveState.RESTARTING, said]
        case Trouble.NEW_ATTEMPT if not is_forward:
            facts[LOST] = said
        case Trouble.GIVE_UP if is_forward:
            facts[AFTERWARDS] = [MoveState.ABORTING, said]
        case Trouble.PASSING:
            count = 1 + int(job.facts.get(PUT_OFF, {}).get("count", 0))
            facts[PUT_OFF] = {"count": count, "reason": said}
            job.retry_at = job.clock() + pause_before_retry(
                job.settings.retry_cutover_seconds, count
            )
        case _:
            attention = said
    job.advance(MoveState.RETREATING, reason=said, facts=facts, attention=attention)
