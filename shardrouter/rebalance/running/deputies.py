"""Threads of a router that stand in for movers: a copy takes hours, and others must not wait.

One at a time of each duty, of cutovers a few: a router's work is another one.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, Final

from shardrouter.catalog import CatalogStore, Move, catalog_engine
from shardrouter.config import Settings
from shardrouter.control.tasks import call_safely
from shardrouter.errors import MoveBusy, MoveRefused, MoveTakenOver, SettingsError
from shardrouter.rebalance.mover import Mover
from shardrouter.rebalance.running.duties import LOOKING, STOPS, Duty, is_abandoned
from shardrouter.rebalance.running.run_moves import Stop, Stopped
from shardrouter.rebalance.troubles import TROUBLE, said_of
from shardrouter.topology import CUTTING_OVER

logger = logging.getLogger(__name__)

MOST: Final[Mapping[Duty, int]] = {Duty.FINISH_CUTOVER: 4}
"""At the same time; 1 of what is not named."""

AGAIN_SECONDS: Final = 10.0  # what did not succeed would not a second later
REFUSED_SECONDS: Final = 300.0  # a role that may not does not need to say so every second
CLOSE_SECONDS: Final = 2.0
CUTOVER_POLL_SECONDS: Final = 0.01  # of a cutover that goes on while the router closes

Work = Callable[[Move, Duty], object]


class Deputies:
    """The moves that this router carries out at the moment."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        owner: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        work: Work | None = None,
    ) -> None:
        """settings: as they are now. work: instead of a mover's, for tests."""
        self._settings = settings
        self._owner = owner
        self._clock = clock
        self._work = work or self._carry
        self._stop = Stop()
        self._lock = threading.Lock()
        self._exit_probe = ThreadPoolExecutor(1, thread_name_prefix="deputy probe")
        self._running: dict[int, tuple[Duty, threading.Thread]] = {}
        self._not_before: dict[int, float] = {}
        self._refused_until = float("-inf")

    def send(self, move: Move, duty: Duty) -> bool:
        """Do that in a thread; False when it has to wait for another one, or for its next try."""
        with self._lock:
            if not self._has_room(move.number, duty):
                return False
            # A daemon: a program that ends without closing its router leaves what a crash would.
            thread = threading.Thread(
                target=call_safely,
                args=(self._work, move, duty),
                kwargs={"name": f"{duty} of move {move.number}"},
                name=f"deputy {move.number}",
                daemon=True,
            )
            self._running[move.number] = (duty, thread)
            thread.start()
            return True

    def _has_room(self, number: int, duty: Duty) -> bool:
        now = self._clock()
        self._running = {n: run for n, run in self._running.items() if run[1].is_alive()}
        self._not_before = {n: at for n, at in self._not_before.items() if at > now}
        alike = sum(duty is busy for busy, _ in self._running.values())
        is_full = alike >= MOST.get(duty, 1) or number in self._running
        is_to_wait = number in self._not_before or now < self._refused_until
        if is_full or is_to_wait or self._stop.is_set():
            return False
        if duty is not Duty.FINISH_CUTOVER:
            self._not_before[number] = now + AGAIN_SECONDS
        return True

    def stop(self) -> None:
        """Ask all to stop where no writer waits, and wait for that, but not for long.

        One that waits for a server goes on until its answer, and stops then; its lease holds
        meanwhile.
        """
        self._stop.set()
        deadline = self._clock() + CLOSE_SECONDS
        with self._lock:
            running = list(self._running.items())
        for number, (duty, thread) in running:
            thread.join(max(0.0, deadline - self._clock()))
            if thread.is_alive():
                logger.warning("deputy_lingers move=%d duty=%r", number, duty.value)
        self._exit_probe.shutdown(wait=False)

    def _carry(self, move: Move, duty: Duty) -> None:
        number = move.number
        logger.log(
            logging.DEBUG if duty is Duty.LOOK else logging.WARNING,
            "move_taken_over move=%d state=%s before=%s duty=%r",
            number, move.state, move.owner, duty.value,
        )  # fmt: skip
        try:
            ended = self._run(move, duty)
        except (MoveBusy, MoveRefused, MoveTakenOver) as error:
            logger.info("move_left_to_others move=%d reason=%r", number, error.message)
        except Stopped:
            logger.info("move_left move=%d reason='the router closes'", number)
        except SettingsError as error:
            self._refused_until = self._clock() + REFUSED_SECONDS
            logger.warning("moves_not_looked_after reason=%r", said_of(error))
        except TROUBLE as error:
            logger.warning(
                "move_not_looked_after move=%d duty=%r reason=%r",
                number, duty.value, said_of(error),
            )  # fmt: skip
        else:
            logger.log(
                logging.DEBUG if duty is Duty.LOOK else logging.INFO,
                "move_left move=%d state=%s attention=%r", number, ended.state, ended.attention,
            )  # fmt: skip

    def _run(self, move: Move, duty: Duty) -> Move:
        settings = self._settings()
        # Its own connections: those of the router are for its lease, and closed before we end.
        with closing(_open_catalog(settings)) as catalog:
            mover = self._mover(settings, catalog, move, duty)
            return mover.look(move.number) if duty is Duty.LOOK else mover.run(move.number)

    def _mover(self, settings: Settings, catalog: CatalogStore, move: Move, duty: Duty) -> Mover:
        is_free = not is_abandoned(move)
        return Mover(
            settings,
            catalog.moves(),
            catalog,
            owner=(LOOKING if duty is Duty.LOOK and is_free else "") + self._owner,
            sleep=self._sleep,
            on_progress=self._show,
            stops=STOPS[duty],
            dead_since=None if is_free else move.owner_expires_at,
        )

    def _show(self, move: Move, progress: Mapping[str, Any]) -> None:
        if move.state not in CUTTING_OVER and (self._stop.is_set() or self._is_program_over()):
            raise Stopped

    def _is_program_over(self) -> bool:
        """Ask an executor, which refuses work then: a program that ends without closing its
        router would wait for the executor of a fast copy.
        """
        try:
            self._exit_probe.submit(int)
        except RuntimeError:
            return True
        return False

    def _sleep(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            time.sleep(min(seconds, CUTOVER_POLL_SECONDS))


def _open_catalog(settings: Settings) -> CatalogStore:
    catalog = settings.catalog
    return CatalogStore(
        catalog_engine(
            catalog.dsn, catalog.connect_timeout_seconds, catalog.statement_timeout_seconds
        )
    )
