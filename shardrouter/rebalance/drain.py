"""DRAINING: the last write arrives on the gaining shard; then everything is checked once more.

What this leaves undone can be undone by retreating; the publication at its end cannot.
"""

from typing import Final

from shardrouter.postgres.moving import advance_slot, flush_wal, set_sequences, wait_for_standbys
from shardrouter.rebalance.catch_up import await_marker
from shardrouter.rebalance.flux import compare_flux
from shardrouter.rebalance.identity import require_same_servers
from shardrouter.rebalance.job import POLL_CUTOVER_SECONDS, Job
from shardrouter.rebalance.motions import handed_over, is_in
from shardrouter.rebalance.schemas import require_same_register, require_same_tables, schema_stamp
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
    copy_sequences(job)
    flush_to_standbys(job, move.gaining)
    if move.direction is Direction.FORWARD and has_reverse(job):
        pass_over(job, Direction.BACK)
    _require_unaltered(job)
    require_same_servers(job)
    job.failpoint("draining.before_commit")
    job.publish(
        lambda topology: _handed_over(job, topology),
        to=MoveState.COMMITTED,
        reason=f"{len(move.slots)} slots belong to {move.gaining} now",
    )


def has_reverse(job: Job) -> bool:
    """True when the reverse stream was made ready."""
    return job.facts.get(REVERSE) == job.move.attempt


def pass_over(job: Job, direction: Direction) -> None:
    """Let a stream that does not run yet leave out everything that is committed by now."""
    shard = job.move.target if direction is Direction.BACK else job.move.source
    advance_slot(job.on(shard), job.name(direction), move=job.move.number, token=job.move.token)


def copy_sequences(job: Job) -> None:
    """Let the gaining shard's sequences go on behind the losing shard's."""
    move = job.move
    with job.read(move.losing) as losing, job.write(move.gaining) as gaining:
        set_sequences(losing, gaining, job.tables())


def flush_to_standbys(job: Job, shard: ShardId) -> None:
    """Wait until every connected standby has on its disk what the shard committed by now.

    A standby that took over without it would open the fence, or lose acknowledged writes.
    Raises PutOff.
    """
    connection = job.on(shard)
    written = flush_wal(connection, move=job.move.number, token=job.move.token)
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
    if not job.stamps:  # another process made them
        require_same_tables(job)
    for shard, stamp in job.stamps.items():
        if schema_stamp(job, shard) != stamp:
            raise StreamLost(
                "a moving table was altered during the cutover",
                shard=shard,
                hint="nothing is to be done: the rows are copied again",
            )
