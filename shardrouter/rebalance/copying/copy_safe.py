"""COPYING, safe: Postgres copies by itself, table by table, and goes on when we die."""

from typing import Final

from sqlalchemy import text

from shardrouter.postgres.moving import SubscriptionState
from shardrouter.rebalance.copying.catch_up import require_running
from shardrouter.rebalance.copying.progress import EXPECTED, Rate, note_copied, rows_so_far
from shardrouter.rebalance.copying.rest import Rests
from shardrouter.rebalance.copying.streams import make_subscription, stream_state
from shardrouter.rebalance.job import Job
from shardrouter.topology import Direction, MoveState


def copy_safely(job: Job) -> None:
    """Subscribe with a first copy, wait until every table has it. Raises NeedsOperator."""
    watch = _Watch(job)
    watch.begin()
    make_subscription(job, Direction.FORWARD, copy_data=True, enabled=True)
    job.failpoint("copying.subscribed")
    job.await_that(watch.is_copied, waits_for=watch.waits_for)
    job.progress.pop("eta_seconds", None)
    job.failpoint("copying.copied")
    job.advance(MoveState.CATCHING_UP, reason="every table is copied")


class _Watch:
    """Looks at a first copy; remembers what the server forgets when a table is copied."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._rate = Rate()
        self._rests = Rests(job)
        self._reason: str | None = None
        self._rows: dict[str, int] = {}
        self._bytes: dict[str, int] = {}
        self._state: SubscriptionState | None = None

    def begin(self) -> None:
        """Call before there is anything to look at."""
        self._rests.begin()

    def is_copied(self) -> bool:
        job = self._job
        state = self._state = stream_state(job, Direction.FORWARD)
        if not state.is_copied:
            require_running(job)
            with job.read(job.move.target) as connection:
                for row in connection.execute(_COPIES):
                    self._rows[row.name] = row.tuples_processed
                    self._bytes[row.name] = row.bytes_processed
        finished = [name for name, phase in state.tables if phase not in _UNFINISHED]
        rows = rows_so_far(job.facts.get(EXPECTED, {}), self._rows, finished)
        size = sum(self._bytes.values())
        note_copied(job.progress, self._rate, job.clock(), rows, size)
        if not state.is_copied:
            self._reason = self._rests.keep(sum(self._rows.values()), size)
        return state.is_copied

    def waits_for(self) -> str:
        if self._reason is not None:
            return self._reason
        tables = () if self._state is None else self._state.tables
        return f"copies of {', '.join(name for name, state in tables if state != 'r')}"


_UNFINISHED: Final = frozenset({"i", "d"})

_COPIES: Final = text(
    """
SELECT n.nspname || '.' || c.relname AS name, p.tuples_processed, p.bytes_processed
  FROM pg_catalog.pg_stat_progress_copy p
  JOIN pg_catalog.pg_class c ON c.oid = p.relid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE p.datname = pg_catalog.current_database() AND p.command = 'COPY FROM'
   AND p.pid IN (SELECT pid FROM pg_catalog.pg_stat_subscription WHERE relid IS NOT NULL)
"""
)
