"""What a router keeps for transactions over shards and for ids: one object of each."""

import logging
import os
import socket
import time
from collections.abc import Iterable
from typing import Any, Final, Protocol

from shardrouter.catalog import IdWorkers, TransactionJournal
from shardrouter.client.causal import current_scope
from shardrouter.client.ids import IdSource
from shardrouter.client.transactions.branch import Shards
from shardrouter.client.transactions.commit import Committer
from shardrouter.client.transactions.two_phase import BUSY_PAUSES_SECONDS, TwoPhaseCommit
from shardrouter.client.transactions.work import TransactionWork
from shardrouter.client.unit import Checkouts
from shardrouter.config import Settings
from shardrouter.control import Background
from shardrouter.errors import BackendUnreachable, CatalogUnavailable, IdError
from shardrouter.postgres import POSITION_SQL, BranchOutcome, read_position, settle_branch
from shardrouter.topology import Position, ShardId
from shardrouter.topology.transaction import Decision

logger = logging.getLogger(__name__)

RENEW_EVERY_SECONDS: Final = 1.0  # the shortest lease, halved, is not far below


class WritingCore(Checkouts, Shards, Protocol):
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

    def transaction(self, keys: Iterable[Any], reference: bool) -> TransactionWork:
        """Return the work of a new transaction. Raises ShardKeyMissing, LeaseExpired."""
        return TransactionWork(
            self._core, self.committer, self._core.settings.transaction, keys, reference
        )

    def settle_pending(self, shard: ShardId) -> None:
        """Let this context see its own commits: carry out what the shard, being down, missed.

        Raises BackendUnreachable while it still is.
        """
        scope = current_scope()
        gids = scope.pending.get(shard)
        if gids:
            position = self._core.runtime.run_blocking(lambda: self._carry_out(shard, gids))
            scope.record(shard, position)
            scope.forget_pending(shard, gids)

    def _carry_out(self, shard: ShardId, gids: Iterable[str]) -> Position:
        with self._core.background.connect_primary(shard) as connection:
            for gid in gids:
                for pause in BUSY_PAUSES_SECONDS:
                    # LOST: nothing more will appear. The resolver tells of the damage.
                    if settle_branch(connection, gid, Decision.COMMIT) is not BranchOutcome.BUSY:
                        break
                    time.sleep(pause)
                else:
                    raise BackendUnreachable(
                        f"prepared transaction {gid} is being committed by another session",
                        shard=shard,
                        hint="try again in a moment",
                    )
            return read_position(*connection.exec_driver_sql(POSITION_SQL).one())

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
