"""COPYING, fast: many sessions copy parts of the tables at one exported snapshot.

Crash: the snapshot ends with its session. What arrived cannot be completed: a new attempt.
"""

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Final

from shardrouter.errors import MoveTakenOver
from shardrouter.postgres.moving import (
    Copied,
    CopyPart,
    ExportedSnapshot,
    copy_part,
    enter_snapshot,
    export_snapshot,
    plan_copy,
    slot_state,
)
from shardrouter.rebalance.copying.progress import Rate, note_copied
from shardrouter.rebalance.copying.streams import SLOT, SLOT_SECONDS, make_subscription
from shardrouter.rebalance.copying.throttle import ByteBucket, Strain
from shardrouter.rebalance.job import Job
from shardrouter.rebalance.troubles import StreamLost, Trouble, kind_of, said_of
from shardrouter.rebalance.watch import STREAMING
from shardrouter.topology import Direction, MoveState

COPIED: Final = "copied"
"""The fact that names the attempt whose rows have all arrived."""

TRIES: Final = 3  # of one part, while the snapshot lives
POLL_SECONDS: Final = 0.1


class _Stopped(Exception):
    """The copy was called off."""


def copy_fast(job: Job) -> None:
    """Copy every part, then let the stream begin behind the snapshot. Raises StreamLost."""
    if job.facts.get(COPIED) != job.move.attempt:
        _copy_all(job)
        job.note(**{COPIED: job.move.attempt})
    job.failpoint("copying.copied")
    make_subscription(job, Direction.FORWARD, copy_data=False, enabled=True)
    job.failpoint("copying.subscribed")
    job.progress.pop("eta_seconds", None)
    job.advance(MoveState.CATCHING_UP, reason="every table is copied")


def _copy_all(job: Job) -> None:
    move, name = job.move, job.name(Direction.FORWARD)
    with job.read(move.source) as connection:
        if slot_state(connection, name).exists:
            raise StreamLost("the copy was interrupted, and its snapshot is gone")
    job.record(move.source, SLOT, name)
    with job.write(move.source):
        pass  # the token holds until now; a later mover ends the session by its name
    source = job.session(move.source)
    with export_snapshot(
        source.node.dsn, name, application_name=job.sessions.name, wait_seconds=SLOT_SECONDS
    ) as snapshot:
        job.note(**{STREAMING: move.attempt})
        with job.read(move.source) as connection:
            parts = plan_copy(connection, job.tables())
        _Copy(job, snapshot, parts).run()


class _Copy:
    """The sessions of one copy, and what they have brought over so far."""

    def __init__(self, job: Job, snapshot: ExportedSnapshot, parts: Sequence[CopyPart]) -> None:
        self._job = job
        self._snapshot = snapshot
        self._parts = deque(parts)
        self._bucket = ByteBucket(lambda: job.settings.max_bytes_per_second, job.clock)
        self._may_go = threading.Event()
        self._may_go.set()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._rows = self._bytes = 0

    def run(self) -> None:
        """Copy all; on any error end every session first."""
        jobs = min(self._job.settings.copy_jobs, len(self._parts)) or 1
        with ThreadPoolExecutor(jobs, thread_name_prefix="copy") as pool:
            running = [pool.submit(self._work) for _ in range(jobs)]
            try:
                self._watch(running)
            finally:
                self._stop.set()
                self._may_go.set()
        for work in running:
            work.result()

    def _watch(self, running: Sequence[Future[None]]) -> None:
        job, rate, strain = self._job, Rate(), Strain(self._job.clock)
        shards = (job.move.source, job.move.target)
        while True:
            done, open_ones = wait(running, POLL_SECONDS, return_when=FIRST_EXCEPTION)
            note_copied(job.progress, rate, job.clock(), self._rows, self._bytes)
            for work in done:
                work.result()
            if not open_ones:
                return
            reason = strain.look([job.on(shard) for shard in shards], job.settings)
            (self._may_go.clear if reason else self._may_go.set)()
            job.tick(reason)
            if not self._snapshot.is_alive():
                raise StreamLost("the session that holds the snapshot of the copy ended")

    def _work(self) -> None:
        """Take parts until none is left. Runs in a thread of its own."""
        while not self._stop.is_set():
            try:
                part = self._parts.popleft()
            except IndexError:
                return
            self._copy_part(part)
            self._job.failpoint("copying.chunk")

    def _copy_part(self, part: CopyPart) -> None:
        for attempt in range(1, TRIES + 1):
            try:
                self._count(self._carry(part))
                return
            except (MoveTakenOver, _Stopped):
                raise
            except Exception as error:
                if kind_of(error) is not Trouble.PASSING or self._stop.is_set():
                    raise
                if attempt == TRIES:
                    raise StreamLost(f"the copy broke off: {said_of(error)}") from error

    def _carry(self, part: CopyPart) -> Copied:
        job, move, topology = self._job, self._job.move, self._job.topology
        with job.extra(move.source) as source, job.extra(move.target) as target:
            enter_snapshot(source, self._snapshot.name)
            return copy_part(
                source, target, part, move.slots, topology.slots,
                move=move.number, attempt=move.attempt, token=move.token,
                on_block=self._on_block,
            )  # fmt: skip

    def _on_block(self, rows: int, size: int) -> None:
        """Wait for as long as the limits want. Called before a block is sent."""
        self._stop_if_told()
        with self._lock:
            self._bytes += size
        seconds = self._bucket.take(size)
        if seconds > 0:
            self._stop.wait(seconds)
        self._may_go.wait()
        self._stop_if_told()

    def _stop_if_told(self) -> None:
        if self._stop.is_set():
            raise _Stopped

    def _count(self, copied: Copied) -> None:
        with self._lock:
            self._rows += copied.rows
