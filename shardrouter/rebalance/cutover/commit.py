"""COMMITTED: the slots belong to the gaining shard; let it admit them and routers go on.

Only forward from here: every step is repeated until it succeeds, by whichever process.
"""

from shardrouter.postgres import POSITION_SQL, Guard, read_position, run_with_locks, sharded_tables
from shardrouter.postgres.moving import check_token, widen_guards
from shardrouter.rebalance.copying.streams import drop_streams, enable
from shardrouter.rebalance.cutover.drain import has_reverse
from shardrouter.rebalance.cutover.motions import flowing, is_in
from shardrouter.rebalance.cutover.routers import await_served
from shardrouter.rebalance.job import Job
from shardrouter.rebalance.preflight import identity
from shardrouter.topology import Direction, Motion, MoveState, Position, ShardId, Topology


def finish_cutover(job: Job) -> None:
    """Admit the slots on the gaining shard, let writers go on, then turn the stream round."""
    move = job.move
    if is_in(job.topology, move, Motion.PAUSED, move.gaining):
        _let_flow(job)
    if move.direction is Direction.BACK:
        drop_streams(job)
        job.advance(MoveState.CLEANING, reason=f"the slots are back on {move.gaining}")
        return
    drop_streams(job, Direction.FORWARD)
    if not has_reverse(job):
        job.advance(MoveState.CLEANING, reason="no soak was asked for")
        return
    enable(job, Direction.BACK)
    job.failpoint("committed.reversed")
    identities = identity.identities_fact(job.session(move.source), job.session(move.target))
    job.advance(
        MoveState.SOAKING,
        reason=f"the copy on {move.losing} follows by the reverse stream",
        facts=job.facts_with(**{identity.FACT: identities}),
    )


def _let_flow(job: Job) -> None:
    """Publish that writes flow, when the guards of that very topology admit them."""
    move = job.move
    floor = _floor(job)
    job.failpoint("committed.published")

    handed_over_at = move.epoch

    def admit(topology: Topology) -> None:
        put_guards(job, topology, move.gaining)
        # Else one that is late would read on the losing shard what others write on this one. It
        # has told a moment ago that it took the pause; at the worst its lease runs out.
        await_served(job, handed_over_at)
        job.failpoint("committed.admitted")

    job.publish(
        lambda topology: flowing(topology, move, floor),
        before=admit,
        reason=f"writes to the slots flow on {move.gaining}",
    )
    if job.paused_at is not None:
        job.amend(pause_seconds=job.clock() - job.paused_at)
        job.paused_at = None
    job.failpoint("committed.flowing")


def put_guards(job: Job, topology: Topology, shard: ShardId) -> None:
    """Make the shard's guards those of a topology; nobody is held up where they only admit more."""
    tables = sharded_tables(topology)
    guards = [Guard.of(table, topology, shard) for table in tables]
    connection = job.on(shard)

    def work() -> None:
        check_token(connection, job.move.number, job.move.token)
        widen_guards(connection, guards)

    run_with_locks(connection, work, tables, sleep=job.tools.sleep)


def _floor(job: Job) -> Position:
    """Return a position behind all that arrived on the gaining shard."""
    session = job.session(job.move.gaining)
    if job.drained_lsn is not None:
        return Position(session.identity.timeline, job.drained_lsn)
    return position_on(job, job.move.gaining)


def position_on(job: Job, shard: ShardId) -> Position:
    """Return a position behind all that the shard committed by now."""
    with job.ask(shard) as connection:
        return read_position(*connection.exec_driver_sql(POSITION_SQL).one())
