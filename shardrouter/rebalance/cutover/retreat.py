"""RETREATING: lift the fence, then let routers write where they wrote before.

In this order: a router that went on before the guard admits it would only be refused.
"""

from typing import Final

from shardrouter.rebalance.cutover.commit import put_guards
from shardrouter.rebalance.cutover.motions import as_before, is_in
from shardrouter.rebalance.job import Job
from shardrouter.topology import Direction, Motion, MoveState, Topology, Wish

LONGEST_PAUSE_SECONDS: Final = 60.0  # between two cutovers

REVERSIBLE: Final = frozenset({MoveState.PAUSING, MoveState.FENCING, MoveState.DRAINING})
"""States of a cutover that can still be put off."""

GIVEN_UP: Final = "an operator gave the move up"

AFTERWARDS: Final = "afterwards"
"""The fact that names the state which follows, and why."""


def retreat(job: Job) -> None:
    """Lift the fence and go into the state that was noted. Repeated until it succeeds."""
    move = job.move
    to, reason = _afterwards(job)
    facts = {name: value for name, value in job.facts.items() if name not in ("fence", AFTERWARDS)}
    job.paused_at = None
    job.stamps.clear()
    if is_in(job.load(), move, Motion.PAUSED, move.losing):

        def lift(topology: Topology) -> None:
            put_guards(job, topology, move.losing)
            job.failpoint("retreating.lifted")

        job.publish(
            lambda topology: as_before(topology, move),
            before=lift,
            to=to,
            reason=reason,
            facts=facts,
        )
    else:  # writers were not held up yet
        job.advance(to, reason=reason, facts=facts)
    job.failpoint("retreating.published")


def pause_before_retry(first_seconds: float, put_off: int) -> float:
    """Return how long to wait after so many cutovers in a row that were put off."""
    return min(first_seconds * 2.0 ** max(0, put_off - 1), LONGEST_PAUSE_SECONDS)


def _afterwards(job: Job) -> tuple[MoveState, str]:
    if job.see_wish() is Wish.ABORT and job.move.direction is Direction.FORWARD:
        return MoveState.ABORTING, GIVEN_UP
    state, reason = job.facts.get(AFTERWARDS, (MoveState.READY, "the cutover was interrupted"))
    return MoveState(state), str(reason)
