"""CLEANING: delete the losing shard's copy when nobody reads it any more, and all artefacts."""

from shardrouter.postgres.moving import drop_token, unlock_schema
from shardrouter.rebalance.copying.copies import delete_copy, drop_origins
from shardrouter.rebalance.copying.streams import drop_streams
from shardrouter.rebalance.cutover.commit import position_on
from shardrouter.rebalance.cutover.motions import at_rest
from shardrouter.rebalance.cutover.routers import wait_for_routers
from shardrouter.rebalance.ending.soak import follow_failovers
from shardrouter.rebalance.job import Job
from shardrouter.rebalance.prepare import SCHEMA_LOCK
from shardrouter.topology import Direction, MoveState, ShardId


def clean(job: Job) -> None:
    """Leave nothing of the move behind but its row in the catalog."""
    move = job.move
    follow_failovers(job)
    wait_for_routers(job, move.epoch, writers=False)
    job.failpoint("cleaning.drained")
    drop_streams(job)
    job.failpoint("cleaning.streams_dropped")
    delete_copy(job, move.losing, "cleaning.chunk")
    unlock(job)
    job.failpoint("cleaning.unlocked")
    is_forward = move.direction is Direction.FORWARD
    to = MoveState.DONE if is_forward else MoveState.REVERSED
    end(job, to, move.losing, "nothing is left to do")


def unlock(job: Job) -> None:
    """Let the tables of both shards be altered again, and forget the names of deletions."""
    drop_origins(job)
    for artefact in job.tools.store.artefacts(job.move.number):
        if artefact.kind == SCHEMA_LOCK:
            unlock_schema(
                job.on(artefact.shard),
                move=job.move.number, token=job.move.token, sleep=job.tools.sleep,
            )  # fmt: skip
            job.tools.store.forget_artefact(job.move, artefact)


def end(job: Job, to: MoveState, cleaned: ShardId, reason: str) -> None:
    """Forget the move on the shards, and publish that its slots are at rest.

    cleaned: the shard whose copy was deleted.
    """
    floor = position_on(job, cleaned)
    for shard in (job.move.source, job.move.target):
        with job.write(shard) as connection:
            drop_token(connection, job.move.number)
    job.sessions.close_all()  # a step that is repeated takes the token anew
    if job.load().motion_of(job.move.number) is None:
        job.advance(to, reason=reason)
    else:
        job.publish(
            lambda topology: at_rest(topology, job.move, cleaned, floor), to=to, reason=reason
        )
