"""READY: stay close behind, wait for the word, make all ready that must not take time later."""

from typing import Final

from shardrouter.postgres.moving import read_sequences
from shardrouter.rebalance.copying.catch_up import require_running, wait_until_close
from shardrouter.rebalance.copying.streams import make_publication, make_slot, make_subscription
from shardrouter.rebalance.cutover.drain import REVERSE, has_reverse, pass_over, set_all_sequences
from shardrouter.rebalance.ending.soak import LOST
from shardrouter.rebalance.job import Job
from shardrouter.rebalance.preflight.schemas import require_same_tables, stamp_of
from shardrouter.rebalance.troubles import NeedsOperator
from shardrouter.topology import Direction, MoveState

CUTOVER_CLOSE_SECONDS: Final = 0.1  # a marker that arrives so soon will again, while writers wait
PUT_OFF: Final = "put_off"
"""The fact that counts cutovers that were put off in a row."""


class AtGate(Exception):
    """The move waits for the word to cut over."""


def make_ready(job: Job, *, may_cut_over: bool) -> None:
    """Go on to the cutover when everything is ready and it may begin.

    Raises AtGate; NeedsOperator when too many cutovers were put off.
    """
    if job.move.direction is Direction.BACK and LOST in job.facts:
        job.advance(
            MoveState.SOAKING,
            reason=f"there is no way back: {job.facts[LOST]}",
            direction=Direction.FORWARD,
        )
        return
    if job.move.direction is Direction.FORWARD and job.move.soak_seconds > 0:
        make_reverse(job)
    if not may_cut_over:
        require_running(job)
        raise AtGate
    _require_patience(job)
    job.await_that(lambda: job.clock() >= job.retry_at, waits_for="the next try of the cutover")
    wait_until_close(job, CUTOVER_CLOSE_SECONDS)
    _prepare_cutover(job)
    job.failpoint("ready.gate")
    number = job.move.cutovers + 1
    job.advance(MoveState.PAUSING, reason=f"cutover {number}", cutovers=number)


def make_reverse(job: Job) -> None:
    """Make the reverse stream, stopped: that it can be made is known before there is no return."""
    if has_reverse(job):
        return
    make_publication(job, Direction.BACK)
    make_slot(job, Direction.BACK)
    make_subscription(job, Direction.BACK, copy_data=False, enabled=False)
    job.note(**{REVERSE: job.move.attempt})
    job.failpoint("ready.reverse_made")


def _require_patience(job: Job) -> None:
    count = int(job.facts.get(PUT_OFF, {}).get("count", 0))
    if count >= job.settings.cutover_attempts:
        raise NeedsOperator(
            f"{count} cutovers were put off, the last one because"
            f" {job.facts[PUT_OFF].get('reason', 'of an error')}",
            epoch=job.topology.epoch,
            hint="end what is in the way, then `shardrouter rebalance resume`",
        )


def _prepare_cutover(job: Job) -> None:
    """What is done here need not be done, or goes faster, while writers wait."""
    job.load()
    require_same_tables(job)
    for shard in (job.move.source, job.move.target):
        job.stamps[shard], _ = stamp_of(job, shard)
    with job.read(job.move.losing) as connection:
        job.has_sequences = bool(read_sequences(connection, job.tables()))
    set_all_sequences(job)
    if job.move.direction is Direction.FORWARD and has_reverse(job):
        pass_over(job)
