"""One worker of a proxy looks after moves, as routers of the library do: see ``MoveWatch``.

In a thread, and with everything that is for moves imported only when slots are in motion: what
relays is not to wait for it. For the same reason no fast copy goes through a proxy.
"""

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from shardrouter.catalog import CatalogStore, catalog_engine
from shardrouter.config import Settings
from shardrouter.control import TopologyKeeper, spawn, supervised
from shardrouter.errors import ShardRouterError
from shardrouter.proxy.worker.static_topology import StaticTopology

if TYPE_CHECKING:
    from shardrouter.rebalance import MoveWatch

logger = logging.getLogger(__name__)

EVERY_SECONDS: Final = 1.0
WORKER: Final = 0  # one is enough; another one would only find the moves taken


@asynccontextmanager
async def looking_after_moves(
    index: int, source: TopologyKeeper | StaticTopology, settings: Callable[[], Settings]
) -> AsyncIterator[None]:
    """Look after moves during the block, in one worker of a proxy that has a catalog."""
    if index != WORKER or not isinstance(source, TopologyKeeper):
        yield
        return
    watch = _Watch(source, settings)
    watching = spawn(supervised(watch.run, name="moves"), name="moves")
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await asyncio.to_thread(watch.close)


class _Watch:
    """Makes a ``MoveWatch`` when one is needed."""

    def __init__(self, keeper: TopologyKeeper, settings: Callable[[], Settings]) -> None:
        self._keeper = keeper
        self._settings = settings
        self._store: CatalogStore | None = None
        self._watch: MoveWatch | None = None

    async def run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            if self._watch is not None or self._is_needed():
                await asyncio.to_thread(self._run_once)

    def close(self) -> None:
        """Let go of what was begun."""
        if self._watch is not None:
            self._watch.close()
        if self._store is not None:
            self._store.close()

    def _is_needed(self) -> bool:
        try:
            return self._settings().rebalance.take_over and bool(self._keeper.current().motions)
        except ShardRouterError as error:
            logger.debug("moves_not_watched reason=%s", error.message)
            return False

    def _run_once(self) -> None:
        if self._watch is None:
            self._watch = self._make()
        self._watch.run_once()

    def _make(self) -> "MoveWatch":
        from shardrouter.rebalance import MoveWatch

        catalog = self._settings().catalog
        self._store = CatalogStore(
            catalog_engine(
                catalog.dsn, catalog.connect_timeout_seconds, catalog.statement_timeout_seconds
            )
        )
        owner = f"proxy {socket.gethostname()}:{os.getpid()}:{secrets.token_hex(2)}"
        return MoveWatch(self._settings, self._store, self._keeper.current, owner, may_copy=False)
