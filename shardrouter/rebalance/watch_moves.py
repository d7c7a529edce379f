"""What a router does for moves in the background: metrics, and cutovers whose mover died."""

import logging
from collections.abc import Callable
from typing import Final

from shardrouter.catalog import CatalogStore, MoveStore
from shardrouter.config import Settings
from shardrouter.errors import MoveBusy, MoveRefused, MoveTakenOver, ShardRouterError
from shardrouter.rebalance.move_metrics import MoveMetrics
from shardrouter.rebalance.mover import Mover, Stops
from shardrouter.topology import CUTTING_OVER, Topology

logger = logging.getLogger(__name__)

WATCH_EVERY_SECONDS: Final = 1.0
_LIMIT: Final = 200


def take_over_due(settings: Settings, catalog: CatalogStore, store: MoveStore, owner: str) -> int:
    """Finish the cutovers whose owner is silent past its lease; return how many.

    Writers wait in them, so nobody waits for an operator; other states do. Raises
    CatalogUnavailable.
    """
    finished = 0
    for move in store.unattended(CUTTING_OVER):
        logger.warning(
            "move_taken_over move=%d state=%s before=%s", move.number, move.state, move.owner
        )
        mover = Mover(settings, store, catalog, owner=owner, stops=Stops(after_cutover=True))
        try:
            mover.run(move.number)
            finished += 1
        except (MoveBusy, MoveRefused, MoveTakenOver) as error:
            logger.info("move_left_to_others move=%d reason=%s", move.number, error.message)
    return finished


class MoveWatch:
    """Looks at the moves of the fleet now and then. ``run_once`` blocks."""

    def __init__(
        self,
        settings: Settings,
        catalog: CatalogStore,
        current: Callable[[], Topology],
        owner: str,
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._store = catalog.moves()
        self._current = current
        self._owner = owner
        self._metrics = MoveMetrics()

    def run_once(self) -> None:
        """Take in how the moves stand; finish what is due. The catalog is asked only while
        slots are in motion.
        """
        try:
            if not self._current().motions:
                self._metrics.see_all([])
                return
            self._metrics.see_all(self._store.list(unfinished=True, limit=_LIMIT))
            if self._settings.rebalance.take_over:
                take_over_due(self._settings, self._catalog, self._store, self._owner)
        except ShardRouterError as error:
            logger.warning("moves_not_watched reason=%s", error.message)
