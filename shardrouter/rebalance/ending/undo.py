"""RESTARTING and ABORTING: what this attempt made and copied is removed again."""

from typing import Final

from shardrouter.rebalance.copying.copies import delete_copy
from shardrouter.rebalance.copying.streams import drop_streams
from shardrouter.rebalance.ending.clean import end, unlock
from shardrouter.rebalance.job import Job
from shardrouter.rebalance.prepare import FILLED
from shardrouter.topology import MoveState

_OF_ATTEMPT: Final = frozenset(
    {"afterwards", "copied", "fence", "flux", "is_streaming", "put_off", "reverse", "verify"}
)

_SIZES: Final = ("rows_total", "bytes_total")  # as they were estimated before the first attempt


def restart(job: Job) -> None:
    """Make way for the next attempt."""
    drop_streams(job)
    job.failpoint("restarting.streams_dropped")
    _delete_copied(job, "restarting.chunk")
    job.failpoint("restarting.deleted")
    sizes = {name: value for name, value in job.progress.items() if name in _SIZES}
    job.progress.clear()
    job.progress.update(sizes)
    facts = {name: value for name, value in job.facts.items() if name not in _OF_ATTEMPT}
    attempt = job.move.attempt + 1
    job.advance(MoveState.PREPARING, reason=f"attempt {attempt}", attempt=attempt, facts=facts)


def abort(job: Job) -> None:
    """Leave the slots where they were, and nothing else."""
    drop_streams(job)
    job.failpoint("aborting.streams_dropped")
    _delete_copied(job, "aborting.chunk")
    job.failpoint("aborting.deleted")
    unlock(job)
    job.failpoint("aborting.unlocked")
    end(job, MoveState.ABORTED, job.move.target, "given up; the slots stayed where they were")


def _delete_copied(job: Job, failpoint: str) -> None:
    """Rows that stood there before us are not ours to delete."""
    if job.facts.get(FILLED):
        delete_copy(job, job.move.target, failpoint)
