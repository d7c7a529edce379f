"""What a router keeps for transactions over shards and for ids: one object of each."""

import logging
import os
import socket
import time
from collections.abc import Sequence
from typing import Any, Final, Protocol

from shardrouter.catalog import IdWorkers, TransactionJournal
from shardrouter.client.branch import Shards
from shardrouter.client.commit import Committer
from shardrouter.client.ids import IdSource
from shardrouter.client.transaction_work import Core, TransactionWork
from shardrouter.client.two_phase import TwoPhaseCommit
from shardrouter.config import Settings
from shardrouter.control import Background
from shardrouter.errors import CatalogUnavailable, IdError

logger = logging.getLogger(__name__)

RENEW_EVERY_SECONDS: Final = 1.0  # the shortest lease, halved, is not far below


class WritingCore(Core, Shards, Protocol):
    """The routing core, as it is seen from here."""

    settings: Settings
    background: Background


class Writes:
    """Transactions and ids of one router."""

    def __init__(self, core: WritingCore) -> None:
        self._core = core
        settings, catalog = core.settings, core.background.catalog
        origin = f"{socket.gethostname()}:{os.getpid()}"
        self.committer = Committer(core, TwoPhaseCommit(core, TransactionJournal(catalog), origin))
        self.ids = IdSource(
            IdWorkers(catalog, settings.ids.lease_seconds, settings.ids.horizon_seconds),
            core.topology.slots,
            settings.ids,
            origin,
            time.sleep,
        )
        core.background.every(RENEW_EVERY_SECONDS, self._renew, name="id window")

    def transaction(self, keys: Sequence[Any], reference: bool) -> TransactionWork:
        """Return the work of a new transaction. Raises ShardKeyMissing, LeaseExpired."""
        return TransactionWork(
            self._core, self.committer, self._core.settings.transaction, keys, reference
        )

    def close(self) -> None:
        """Give the worker number back, as far as the catalog answers."""
        try:
            self.ids.close()
        except CatalogUnavailable as error:
            logger.info("id_worker_not_released reason=%s", error.message)

    def _renew(self) -> None:
        try:
            self.ids.renew_if_needed()
        except (CatalogUnavailable, IdError) as error:
            logger.warning("id_window_not_renewed reason=%s", error.message)
