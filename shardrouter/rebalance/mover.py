"""Carry a move out: run the step of its state until it is over, or somebody else must act.

Any process may run any move at any time; the catalog lets one at a time. What a crash leaves is
found by the next one in the row, in the artefacts, and by asking the shards.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

import psycopg
from sqlalchemy.exc import DBAPIError

from shardrouter.catalog import CatalogStore, Move, MoveStore
from shardrouter.config import Settings
from shardrouter.errors import CatalogUnavailable, CommitInDoubt, MoveTakenOver, ShardRouterError
from shardrouter.rebalance.checking.verify import verify
from shardrouter.rebalance.copying.catch_up import catch_up
from shardrouter.rebalance.copying.copy_fast import copy_fast
from shardrouter.rebalance.copying.copy_safe import copy_safely
from shardrouter.rebalance.cutover.commit import finish_cutover
from shardrouter.rebalance.cutover.drain import drain
from shardrouter.rebalance.cutover.fence import fence
from shardrouter.rebalance.cutover.pause import pause
from shardrouter.rebalance.cutover.ready import AtGate, make_ready
from shardrouter.rebalance.cutover.retreat import retreat
from shardrouter.rebalance.ending.clean import clean
from shardrouter.rebalance.ending.soak import StillSoaking, soak
from shardrouter.rebalance.ending.undo import abort, restart
from shardrouter.rebalance.failpoints import Failpoints
from shardrouter.rebalance.job import Interrupted, Job, Tools
from shardrouter.rebalance.look import give_up_when_full
from shardrouter.rebalance.preflight.check import preflight
from shardrouter.rebalance.prepare import prepare
from shardrouter.rebalance.reactions import ask_for_help, react
from shardrouter.rebalance.troubles import TROUBLE, said_of
from shardrouter.rebalance.watch import watch
from shardrouter.rebalance.wishes import obey
from shardrouter.topology import CUTTING_OVER, MoveState

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 5.0
LONGEST_CUTOVER_PAUSE_SECONDS: Final = 0.5  # writers wait
PATIENCE_SECONDS: Final = 600.0  # trouble that lasts so long is an operator's

Step = Callable[[Job], None]
OnProgress = Callable[[Move, Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Stops:
    """How far a mover goes."""

    at_ready: bool = False
    """It stops before the cutover."""

    wait_soak: bool = False
    """It waits until the move is over; otherwise it stops while the move soaks."""

    only: Collection[MoveState] = frozenset(MoveState)
    """It stops before a state that is none of these."""


class Mover:
    """Carries moves out, one at a time. Threads may run moves side by side on one Mover."""

    def __init__(
        self,
        settings: Settings,
        store: MoveStore,
        catalog: CatalogStore,
        *,
        owner: str,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        on_progress: OnProgress = lambda move, progress: None,
        stops: Stops = Stops(),
        failpoint: Failpoints | None = None,
        dead_since: datetime | None = None,
    ) -> None:
        """dead_since: it stands in for a process that died then. When it ends before the move,
        the next one goes on.
        """
        self._store = store
        self._stops = stops
        self._dead_since = dead_since
        self._tools = Tools(
            settings=settings.rebalance,
            connect_timeout_seconds=settings.pool.connect_timeout_seconds,
            store=store,
            catalog=catalog,
            owner=owner,
            clock=clock,
            sleep=sleep,
            failpoint=Failpoints.from_environment() if failpoint is None else failpoint,
            on_progress=on_progress,
        )

    def run(self, number: int) -> Move:
        """Carry the move out until it is over, at rest, or waits for an operator; return it.

        At rest: held, before its cutover or soaking, as ``Stops`` says; ``attention`` says what
        an operator must mend. Raises MoveBusy, UnknownMove, MoveTakenOver, MoveRefused for a
        move that is over, CatalogUnavailable.
        """
        with self._claimed(number) as job:
            return _Run(job, self._stops).go()

    def look(self, number: int) -> Move:
        """Look at a move that rests: give it up, or its way back, before its WAL fills a disk.

        It is left as it was found else. Raises as ``run`` does, and what keeps the look from
        being done.
        """
        with self._claimed(number, is_noted=False) as job:
            if not give_up_when_full(job):
                return job.move
            return _Run(job, self._stops).go()

    @contextmanager
    def _claimed(self, number: int, *, is_noted: bool = True) -> Iterator[Job]:
        lease_seconds = self._tools.settings.mover_lease_seconds
        move = self._store.claim(number, self._tools.owner, lease_seconds, is_noted=is_noted)
        job = Job(self._tools, move, watch)
        try:
            yield job
        finally:
            job.close()
            self._release(job.move)

    def _release(self, move: Move) -> None:
        try:
            self._store.release(move, dead_since=None if move.is_over else self._dead_since)
        except ShardRouterError as error:
            logger.warning("move_not_released move=%d reason=%s", move.number, error.message)


class _Run:
    """One process's way through the states of a move."""

    def __init__(self, job: Job, stops: Stops) -> None:
        self._job = job
        self._stops = stops
        self._pending: Exception | None = None
        """An error that was not reacted to yet."""

        self._is_catalog_silent = False
        self._failures = 0
        self._failing_since: float | None = None
        self._steps: Mapping[MoveState, Step] = {
            **_STEPS,
            MoveState.READY: partial(make_ready, may_cut_over=not stops.at_ready),
            MoveState.SOAKING: partial(soak, wait=stops.wait_soak),
        }

    def go(self) -> Move:
        """Go through the states; return the move where this run ends."""
        while True:
            try:
                if self._pending is not None:
                    self._react(self._pending)
                    continue
                obey(self._job)
                if self._is_at_rest():
                    return self._job.move
                self._step()
            except (AtGate, StillSoaking):
                return self._job.move
            except Interrupted:
                self._pending = None
            except MoveTakenOver:
                raise
            except TROUBLE as error:
                self._fail(error)

    def _step(self) -> None:
        self._steps[self._job.move.state](self._job)
        self._failures, self._failing_since = 0, None

    def _is_at_rest(self) -> bool:
        move = self._job.move
        if move.is_over:
            return True
        if move.state in CUTTING_OVER:
            return False
        return move.held or move.attention is not None or move.state not in self._stops.only

    def _fail(self, error: Exception) -> None:
        """Remember the error: it is reacted to in the loop, which may fail as well."""
        job = self._job
        now = job.clock()
        self._failing_since = now if self._failing_since is None else self._failing_since
        if isinstance(error, DBAPIError | psycopg.Error) or error.__cause__ is not None:
            job.sessions.close_all()
        if self._pending is None:
            self._pending = error
        if isinstance(error, CatalogUnavailable | CommitInDoubt):
            self._is_catalog_silent = True

    def _react(self, error: Exception) -> None:
        job = self._job
        before = job.move.state
        if self._is_catalog_silent:
            self._rest(error)
            job.reload()
            self._is_catalog_silent = False
            if job.move.state is not before:  # the answer that was lost was a yes
                self._pending = None
                return
        is_again = react(job, error)
        self._pending = None
        if not is_again:
            return
        if self._is_too_long() and before not in CUTTING_OVER:
            ask_for_help(job, said_of(error))
            return
        self._rest(error)

    def _rest(self, error: Exception) -> None:
        is_cutover = self._job.move.state in CUTTING_OVER
        longest = LONGEST_CUTOVER_PAUSE_SECONDS if is_cutover else LONGEST_PAUSE_SECONDS
        seconds = min(FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures, 10), longest)
        self._failures += 1
        self._job.pause(seconds, said_of(error))

    def _is_too_long(self) -> bool:
        since = self._failing_since
        return since is not None and self._job.clock() - since > PATIENCE_SECONDS


def _copy(job: Job) -> None:
    (copy_fast if job.move.copy_mode == "fast" else copy_safely)(job)


_STEPS: Final[Mapping[MoveState, Step]] = {
    MoveState.PLANNED: preflight,
    MoveState.PREPARING: prepare,
    MoveState.COPYING: _copy,
    MoveState.CATCHING_UP: catch_up,
    MoveState.VERIFYING: verify,
    MoveState.PAUSING: pause,
    MoveState.FENCING: fence,
    MoveState.DRAINING: drain,
    MoveState.COMMITTED: finish_cutover,
    MoveState.CLEANING: clean,
    MoveState.RETREATING: retreat,
    MoveState.RESTARTING: restart,
    MoveState.ABORTING: abort,
}
