"""What a router does for moves in the background: metrics, and what nobody else does for them."""

import logging
from collections.abc import Callable
from typing import Final

from shardrouter.catalog import CatalogStore
from shardrouter.config import Settings
from shardrouter.errors import ShardRouterError
from shardrouter.rebalance.running.deputies import Deputies
from shardrouter.rebalance.running.duties import UNFINISHED, duties_of
from shardrouter.rebalance.running.move_metrics import MoveMetrics
from shardrouter.topology import Topology

logger = logging.getLogger(__name__)

WATCH_EVERY_SECONDS: Final = 1.0
_LIMIT: Final = 200


class MoveWatch:
    """Looks at the moves of the fleet now and then. ``run_once`` and ``close`` block, not long."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        catalog: CatalogStore,
        current: Callable[[], Topology],
        owner: str,
        *,
        may_copy: bool = True,
    ) -> None:
        """settings: as they are now. owner: of this object alone, not only of its process.

        may_copy: whether the rows of a fast copy may go through this process.
        """
        self._may_copy = may_copy
        self._settings = settings
        self._store = catalog.moves()
        self._current = current
        self._metrics = MoveMetrics()
        self._deputies = Deputies(settings, owner)

    def run_once(self) -> None:
        """Take in how the moves stand; see to it that what is due is done. The catalog is asked
        only while slots are in motion.
        """
        try:
            if not self._current().motions:
                self._metrics.see_all([])
                return
            self._metrics.see_all(self._store.list(unfinished=True, limit=_LIMIT))
            rebalance = self._settings().rebalance
            if rebalance.take_over:
                self._look_after_all(rebalance.take_over_after_seconds)
        except ShardRouterError as error:
            logger.warning("moves_not_watched reason=%s", error.message)

    def close(self) -> None:
        """Stop what was begun, where no writer waits; others go on with it."""
        self._deputies.stop()

    def _look_after_all(self, grace_seconds: float) -> None:
        for move in self._store.unattended(UNFINISHED):
            duties = duties_of(move, grace_seconds, may_copy=self._may_copy)
            any(self._deputies.send(move, duty) for duty in duties)
