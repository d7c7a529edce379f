"""COPYING, safe: Postgres copies by itself, table by table, and goes on when we die."""

from typing import Final

from sqlalchemy import text

from shardrouter.postgres.moving import SubscriptionState
from shardrouter.rebalance.catch_up import require_running
from shardrouter.rebalance.job import Job
from shardrouter.rebalance.progress import Rate, note_copied
from shardrouter.rebalance.streams import make_subscription, stream_state
from shardrouter.topology import Direction, MoveState


def copy_safely(job: Job) -> None:
    """Subscribe with a first copy, wait until every table has it. Raises NeedsOperator."""
    make_subscription(job, Direction.FORWARD, copy_data=True, enabled=True)
    job.failpoint("copying.subscribed")
    watch = _Watch(job)
    job.await_that(watch.is_copied, waits_for=watch.waits_for)
    job.progress.pop("eta_seconds", None)
    job.failpoint("copying.copied")
    job.advance(MoveState.CATCHING_UP, reason="every table is copied")


class _Watch:
    """Looks at a first copy; remembers what the server forgets when a table is copied."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._rate = Rate()
        self._rows: dict[int, tuple[int, int]] = {}
        self._state: SubscriptionState | None = None

    def is_copied(self) -> bool:
        job = self._job
        self._state = stream_state(job, Direction.FORWARD)
        if self._state.is_copied:
            return True
        require_running(job)
        with job.read(job.move.target) as connection:
            for row in connection.execute(_COPIES):
                self._rows[row.relid] = (row.tuples_processed, row.bytes_processed)
        rows, size = (sum(part) for part in zip((0, 0), *self._rows.values(), strict=True))
        note_copied(job.progress, self._rate, job.clock(), rows, size)
        return False

    def waits_for(self) -> str:
        tables = () if self._state is None else self._state.tables
        return f"copies of {', '.join(name for name, state in tables if state != 'r')}"


_COPIES: Final = text(
    """
SELECT relid::bigint AS relid, tuples_processed, bytes_processed
  FROM pg_catalog.pg_stat_progress_copy
 WHERE datname = pg_catalog.current_database() AND command = 'COPY FROM'
   AND pid IN (SELECT pid FROM pg_catalog.pg_stat_subscription WHERE relid IS NOT NULL)
"""
)
