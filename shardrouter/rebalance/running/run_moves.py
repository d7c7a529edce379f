"""Carry several moves out in one process: in their order, some side by side, until asked to stop.

Each move has a thread and a mover of its own. Nothing is decided here: a mover stops where the
state of its move says so, and a stop is only heard where no writer waits.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, Final

from shardrouter.catalog import CatalogStore, Move
from shardrouter.config import Settings
from shardrouter.errors import MoveBusy
from shardrouter.rebalance.mover import Mover, Stops
from shardrouter.topology import CUTTING_OVER, MoveState

POLL_SECONDS: Final = 0.5
GRACE_SECONDS: Final = 1.0  # after a dead process's lease

OnProgress = Callable[[Move, Mapping[str, Any]], None]
Stop = threading.Event


class Stopped(Exception):
    """The process was asked to stop; the move can be resumed."""


def ignore(move: Move, progress: Mapping[str, Any]) -> None:
    """Show nothing."""


class Crew:
    """Carries moves out in this process."""

    def __init__(
        self,
        settings: Settings,
        store: CatalogStore,
        actor: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._store = store
        self._moves = store.moves()
        self._owner = f"{actor}:{os.getpid()}"
        self._clock = clock
        self._sleep = sleep

    def run(
        self,
        numbers: Sequence[int],
        *,
        jobs: int,
        wait_soak: bool,
        keep_going: bool = False,
        on_progress: OnProgress = ignore,
        stop: Stop | None = None,
    ) -> list[Move]:
        """Bring the moves over their cutover, then, with ``wait_soak``, to their end.

        After a move that needs an operator or was given up no further one is begun, unless
        ``keep_going``.
        Raises MoveBusy, MoveTakenOver and CatalogUnavailable of any of them, when the others
        have come to rest.
        """
        halt = Stop() if stop is None else stop
        run = Round(self._carry, halt, on_progress, keep_going)
        run.all(numbers, jobs, Stops())
        if wait_soak and not halt.is_set():
            soaking = [n for n in numbers if self._moves.find(n).state is MoveState.SOAKING]
            run.all(soaking, max(1, jobs), Stops(wait_soak=True))
        run.raise_first()
        return [self._moves.find(number) for number in numbers]

    def _carry(self, number: int, stops: Stops, halt: Stop, on_progress: OnProgress) -> Move:
        def show(move: Move, progress: Mapping[str, Any]) -> None:
            on_progress(move, progress)
            if halt.is_set() and move.state not in CUTTING_OVER:
                raise Stopped

        mover = Mover(
            self._settings,
            self._moves,
            self._store,
            owner=self._owner,
            clock=self._clock,
            sleep=self._sleep,
            on_progress=show,
            stops=stops,
        )
        patience = self._settings.rebalance.mover_lease_seconds + GRACE_SECONDS
        deadline = self._clock() + patience
        while True:
            try:
                return mover.run(number)
            except MoveBusy:
                # A process that died a moment ago keeps its lease; one that lives renews it.
                if self._clock() >= deadline or halt.is_set():
                    raise
                self._sleep(POLL_SECONDS)


Carry = Callable[[int, Stops, Stop, OnProgress], Move]


class Round:
    """Runs moves in threads; remembers the first error."""

    def __init__(self, carry: Carry, halt: Stop, on_progress: OnProgress, keep_going: bool) -> None:
        self._carry = carry
        self._halt = halt
        self._on_progress = on_progress
        self._keep_going = keep_going
        self._is_enough = False
        self._error: BaseException | None = None

    def all(self, numbers: Sequence[int], jobs: int, stops: Stops) -> None:
        """Run the moves, so many at a time, until they rest or no more shall be begun."""
        waiting, running = list(numbers), set[Future[Move]]()
        with ThreadPoolExecutor(jobs, thread_name_prefix="move") as pool:
            try:
                while running or (waiting and not self._is_over()):
                    while waiting and len(running) < jobs and not self._is_over():
                        number = waiting.pop(0)
                        call = partial(self._carry, number, stops, self._halt, self._on_progress)
                        running.add(pool.submit(call))
                    # Now and then the main thread has to look for signals.
                    done, running = wait(running, POLL_SECONDS, FIRST_COMPLETED)
                    for future in done:
                        self._note(future)
            except BaseException:
                self._halt.set()
                raise

    def raise_first(self) -> None:
        if self._error is not None:
            raise self._error

    def _is_over(self) -> bool:
        return (self._is_enough and not self._keep_going) or self._halt.is_set()

    def _note(self, future: Future[Move]) -> None:
        error = future.exception()
        if error is None:
            move = future.result()
            gave_up = move.state is MoveState.ABORTED
            self._is_enough = self._is_enough or gave_up or move.attention is not None
        elif not isinstance(error, Stopped):
            self._is_enough = True
            self._error = self._error or error
