"""Keep a mover's lease on its move while the steps work, and see what operators wish.

A thread, because a step may wait for Postgres for minutes. Losing the lease does no harm: every
write of a step checks the token, here and on the shards. It only ends this mover in good order.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from shardrouter.catalog import Move, MoveStore
from shardrouter.errors import MoveTakenOver, ShardRouterError

logger = logging.getLogger(__name__)

RENEWALS_A_LEASE: Final = 5  # several may fail before somebody else takes over
LONGEST_PAUSE_SECONDS: Final = 1.0  # so soon a wish is seen

Progress = Callable[[], Mapping[str, Any]]


class Renewal:
    """Renews the lease of a claimed move until ``stop``."""

    def __init__(
        self,
        store: MoveStore,
        move: Move,
        lease_seconds: float,
        progress: Progress,
        is_urgent: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        """is_urgent: the step writes to the row while writers wait, and is not to meet us there."""
        self._store = store
        self._lease_seconds = lease_seconds
        self._progress = progress
        self._is_urgent = is_urgent
        self._clock = clock
        self._seen = move
        self._taken_over: MoveTakenOver | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"move {move.number}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; at most one answer of the catalog is waited for."""
        self._stop.set()
        self._thread.join()

    def newest(self) -> Move:
        """Return the row as it was read last. Raises MoveTakenOver."""
        if self._taken_over is not None:
            raise self._taken_over
        return self._seen

    def saw(self, move: Move) -> None:
        """Take the row that a step has just written: a wish it obeyed is none any more."""
        self._seen = move

    def _run(self) -> None:
        pause = min(self._lease_seconds / RENEWALS_A_LEASE, LONGEST_PAUSE_SECONDS)
        renewed_at = self._clock()
        while not self._stop.wait(pause):
            if self._is_urgent() and self._clock() - renewed_at < self._lease_seconds / 2:
                continue
            try:
                self._seen = self._store.renew(self._seen, self._lease_seconds, self._progress())
                renewed_at = self._clock()
            except MoveTakenOver as error:
                self._taken_over = error
                return
            except ShardRouterError as error:
                logger.warning(
                    "move_lease_not_renewed move=%d reason=%s", self._seen.number, error.message
                )
