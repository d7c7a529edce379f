"""FENCING: replace the losing shard's guards under lock, and leave a marker behind the last write.

The fence is the guard of the topology in which the slots are paused: it lets them in nowhere.
"""

from typing import Final

from shardrouter.errors import StaleEpoch
from shardrouter.postgres import Guard, Patience, run_with_locks, write_guards
from shardrouter.postgres.moving import check_token, write_marker
from shardrouter.rebalance.cutover.drain import flush_to_standbys
from shardrouter.rebalance.cutover.motions import is_in
from shardrouter.rebalance.job import Job
from shardrouter.rebalance.troubles import PutOff
from shardrouter.topology import Motion, MoveState, parse_lsn

# Writers of every slot of the shard queue up behind a waiting lock: two short attempts, then the
# cutover is put off. deadlock_timeout of the session is 10 ms, so an autovacuum gives way.
FENCE_PATIENCE: Final = Patience(first_ms=200, longest_ms=400, pause_seconds=0.05, attempts=2)


def fence(job: Job) -> None:
    """Put the fence up and note its marker. Raises PutOff, LockTimeout."""
    move = job.move
    try:
        marker = _put_up(job)
    except StaleEpoch:  # a guard of a later topology stands there
        job.load()
        marker = _put_up(job)
    job.failpoint("fencing.fenced")
    flush_to_standbys(job, move.losing, _flushed(job))
    job.failpoint("fencing.flushed")
    job.advance(
        MoveState.DRAINING,
        reason=f"{move.losing} takes no writes to the slots",
        facts=job.facts_with(fence=marker),
    )


def _put_up(job: Job) -> int:
    """Replace the guards and write a marker, in one transaction; return the marker."""
    move, topology, tables = job.move, job.topology, job.tables()
    if not is_in(topology, move, Motion.PAUSED, move.losing):
        raise PutOff("the topology does not pause the slots", epoch=topology.epoch)
    guards = [Guard.of(table, topology, move.losing) for table in tables]
    connection = job.on(move.losing)

    def work() -> int:
        write_guards(connection, guards)
        job.failpoint("fencing.locked")
        check_token(connection, move.number, move.token)
        return write_marker(connection, move.number, move.attempt, move.direction, "fence")

    return run_with_locks(connection, work, tables, sleep=job.tools.sleep, patience=FENCE_PATIENCE)


def _flushed(job: Job) -> int:
    """Return an LSN behind the fence: its commit waited for the disk."""
    with job.ask(job.move.losing) as connection:
        query = "SELECT pg_catalog.pg_current_wal_flush_lsn()::text"
        return parse_lsn(connection.exec_driver_sql(query).scalar_one())
