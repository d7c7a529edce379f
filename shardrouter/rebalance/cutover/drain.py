"""DRAINING: the last write arrives on the gaining shard; then everything is checked once more.

What this leaves undone can be undone by retreating; the publication at its end cannot.
"""

from dataclasses import replace
from typing import Final

from shardrouter.postgres.moving import (
    advance_slot,
    flush_wal,
    set_sequences,
    wait_for_standbys,
)
from shardrouter.rebalance.copying.catch_up import await_marker
from shardrouter.rebalance.cutover.flux import compare_flux
from shardrouter.rebalance.cutover.motions import handed_over, is_in
from shardrouter.rebalance.job import POLL_CUTOVER_SECONDS, Job
from shardrouter.rebalance.preflight.identity import check_identity
from shardrouter.rebalance.preflight.schemas import (
    require_same_register,
    require_same_tables,
    stamp_of,
)
from shardrouter.rebalance.troubles import PutOff, StreamLost
from shardrouter.topology import Direction, Motion, MoveState, ShardId, Topology

ARRIVE_SECONDS: Final = 5.0  # for what was written last; it was close behind when writers paused
STANDBY_SECONDS: Final = 2.0
REVERSE: Final = "reverse"
"""The fact that names the attempt whose reverse stream is ready."""


def drain(job: Job) -> None:
    """Wait for the fence's marker, compare, hand the slots over. Raises PutOff, StreamLost."""
    move = job.move
    marker = int(job.facts["fence"])
    if not await_marker(job, marker, POLL_CUTOVER_SECONDS, ARRIVE_SECONDS):
        raise PutOff(f"the last writes did not arrive within {ARRIVE_SECONDS:g} s")
    job.failpoint("draining.arrived")
    compare_flux(job)
    job.failpoint("draining.compared")
    if job.has_sequences:
        set_all_sequences(job)
    job.drained_lsn = _flush(job)
    flush_to_standbys(job, move.gaining, job.drained_lsn)
    _require_unaltered(job)
    job.failpoint("draining.before_commit")
    job.publish(
        lambda topology: _handed_over(job, topology),
        to=MoveState.COMMITTED,
        reason=f"{len(move.slots)} slots belong to {move.gaining} now",
    )


def has_reverse(job: Job) -> bool:
    """True when the reverse stream was made ready."""
    return job.facts.get(REVERSE) == job.move.attempt


def pass_over(job: Job) -> int:
    """Let the reverse stream leave out what is committed by now; return an LSN behind that."""
    move = job.move
    return advance_slot(
        job.on(move.target), job.name(Direction.BACK), move=move.number, token=move.token
    )


def _flush(job: Job) -> int:
    """Have the gaining shard write down what arrived; return an LSN behind it."""
    move = job.move
    if move.direction is Direction.FORWARD and has_reverse(job):
        return pass_over(job)
    return flush_wal(job.on(move.gaining), move=move.number, token=move.token)


def set_all_sequences(job: Job) -> None:
    """Let the gaining shard's sequences go on behind the losing shard's."""
    move = job.move
    with job.read(move.losing) as losing, job.write(move.gaining) as gaining:
        set_sequences(losing, gaining, job.tables())


def flush_to_standbys(job: Job, shard: ShardId, written: int) -> None:
    """Wait until every connected standby has the shard's WAL on its disk up to an LSN.

    A standby that took over without it would open the fence, or lose acknowledged writes.
    Raises PutOff.
    """
    connection = job.on(shard)
    deadline = job.clock() + STANDBY_SECONDS
    late = wait_for_standbys(connection, written, deadline, job.tools.sleep, now=job.clock)
    if late:
        raise PutOff(
            f"standbys of {shard} did not write down what was committed within"
            f" {STANDBY_SECONDS:g} s: {', '.join(late)}",
            shard=shard,
            hint="let them catch up, or disconnect them; the cutover is tried again by itself",
        )


def _handed_over(job: Job, topology: Topology) -> Topology:
    """The last look is at the very topology that is replaced."""
    move = job.move
    if not is_in(topology, move, Motion.PAUSED, move.losing):
        raise PutOff("the topology does not pause the slots any more", epoch=topology.epoch)
    require_same_register(job)
    return handed_over(topology, move)


def _require_unaltered(job: Job) -> None:
    """Servers and tables are those of when everything was made ready. Raises StreamLost."""
    if not job.stamps:  # another process made them
        require_same_tables(job)
    for shard in (job.move.source, job.move.target):
        stamp, identity = stamp_of(job, shard)
        check_identity(job.move, replace(job.session(shard), identity=identity))
        if job.stamps.get(shard, stamp) != stamp:
            raise StreamLost(
                "a moving table was altered during the cutover",
                shard=shard,
                hint="nothing is to be done: the rows are copied again",
            )
