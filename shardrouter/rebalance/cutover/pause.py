"""PAUSING: have routers hold writes to the slots, and wait until open ones have ended."""

from shardrouter.rebalance.cutover.motions import is_in, paused
from shardrouter.rebalance.cutover.routers import wait_for_routers
from shardrouter.rebalance.job import POLL_CUTOVER_SECONDS, Job
from shardrouter.rebalance.troubles import PutOff
from shardrouter.topology import Motion, MoveState


def pause(job: Job) -> None:
    """Publish that the slots are paused; go on when every router has let its writers end.

    Transactions that do not end in time are not killed: the cutover is put off. Raises PutOff.
    """
    move = job.move  # the topology is as new as it was in READY, or when this process began
    if job.paused_at is None:
        job.paused_at = job.clock()
    if not is_in(job.topology, move, Motion.PAUSED, move.losing):
        job.publish(lambda topology: paused(topology, move), reason="writers of the slots wait")
        job.failpoint("pausing.published")
    laggards = wait_for_routers(
        job,
        job.move.epoch,
        writers=True,
        deadline_seconds=job.settings.drain_seconds,
        poll_seconds=POLL_CUTOVER_SECONDS,
    )
    if laggards:
        raise PutOff(
            f"transactions on the slots did not end within {job.settings.drain_seconds:g} s:"
            f" {', '.join(laggards)}",
            hint="end the long transactions there; the cutover is tried again by itself",
        )
    job.failpoint("pausing.drained")
    job.advance(MoveState.FENCING, reason="every router holds writes back")
