"""All background loops of one process, started and stopped together."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Connection, Engine

from shardrouter.build import describe
from shardrouter.catalog import CatalogStore, TransactionJournal, catalog_engine
from shardrouter.config import Settings
from shardrouter.control.in_doubt import clean_once, resolve_once
from shardrouter.control.load_report import LoadReport
from shardrouter.control.monitor import Monitor
from shardrouter.control.thread import ControlThread
from shardrouter.control.topology_keeper import TopologyKeeper
from shardrouter.errors import CatalogUnavailable, LeaseExpired
from shardrouter.postgres import direct_connection
from shardrouter.routing import writable_node
from shardrouter.topology import ShardId, Slot

logger = logging.getLogger(__name__)

SWEEP_EVERY: Final = 12  # resolver rounds between two searches of the shards for strays
KEEP_FINISHED_SECONDS: Final = 3600.0  # so long people may look a finished transaction up
FIRST_LOOK_SECONDS: Final = 0.01  # pauses while the monitor's first round is awaited


class Background:
    """Topology keeper, monitor, in-doubt resolver and what else must be done now and then."""

    def __init__(self, settings: Settings, kind: str = "library") -> None:
        self.settings = settings
        self.catalog: Engine = catalog_engine(
            settings.catalog.dsn,
            settings.catalog.connect_timeout_seconds,
            settings.catalog.statement_timeout_seconds,
        )
        self.store = CatalogStore(self.catalog)
        self.keeper = TopologyKeeper(self.store, settings.catalog, kind=kind)
        self.monitor = Monitor(settings.monitor, self.keeper)
        self._thread = ControlThread()
        self._endings: list[Callable[[], object]] = []

    def start(self) -> None:
        """Load the topology, start the loops, let the monitor look at every node once.

        Raises CatalogUnavailable, SettingsError, UnknownShard.
        """
        self._thread.start()
        try:
            self._thread.call(self.keeper.start())
            self._thread.keep(self.keeper.run, name="topology keeper")
            self._thread.keep(self.monitor.run, name="monitor")
            transaction = self.settings.transaction
            resolver = _Resolver(self)
            self.every(transaction.resolve_every_seconds, resolver.run_once, name="resolver")
            self._await_first_look()
            logger.info("router_started epoch=%d build=%r", self.keeper.current().epoch, describe())
        except BaseException:
            self.stop()
            raise

    def every(self, seconds: float, call: Callable[[], object], *, name: str) -> None:
        """Run a blocking call now and then, in a thread of its own, until ``stop``."""

        async def loop() -> None:
            while True:
                await asyncio.sleep(seconds)
                await asyncio.to_thread(call)

        self._thread.keep(loop, name=name)

    def report_loads(self, take: Callable[[], Mapping[Slot, int]]) -> None:
        """Report the queries by slot that ``take`` returns, see ``LoadReport``, until ``stop``."""
        report = LoadReport(take, self.keeper.report_loads)
        self._thread.keep(report.run, name="load report")

    def before_stop(self, call: Callable[[], object]) -> None:
        """Have ``stop`` call this first, while loops and catalog are still there."""
        self._endings.append(call)

    def stop(self) -> None:
        """Stop the loops, give the lease back, close the catalog's connections."""
        while self._endings:
            self._endings.pop()()
        self._thread.stop()
        self.store.close()

    @contextmanager
    def connect_primary(self, shard_id: ShardId) -> Iterator[Connection]:
        """Open a connection of its own to the node that takes the shard's writes."""
        topology = self.keeper.current()
        shard = topology.shard(shard_id)
        node = writable_node(shard, self.monitor.view, topology.epoch)
        timeout = self.settings.pool.connect_timeout_seconds
        with direct_connection(shard, node, timeout, "shardrouter-resolver") as connection:
            yield connection

    def _await_first_look(self) -> None:
        """Without it the first reads would all go to the primaries."""
        deadline = time.monotonic() + self.settings.monitor.timeout_ms / 1000
        topology = self.keeper.current()
        while not self.monitor.has_seen_all(topology) and time.monotonic() < deadline:
            time.sleep(FIRST_LOOK_SECONDS)


class _Resolver:
    """Finishes what crashed transactions left, see in_doubt; now and then searches for strays."""

    def __init__(self, background: Background) -> None:
        self._background = background
        self._journal = TransactionJournal(background.catalog)
        self._round = 0

    def run_once(self) -> None:
        try:
            self._resolve(self._background)
        except (LeaseExpired, CatalogUnavailable) as error:
            # The journal is in the catalog: what is in doubt waits until it answers.
            logger.warning("resolver_waits reason=%s", error.message)

    def _resolve(self, background: Background) -> None:
        shards = [shard.id for shard in background.keeper.current().shards]
        is_sweep = self._round % SWEEP_EVERY == 0
        self._round += 1
        resolve_once(
            self._journal,
            background.connect_primary,
            background.settings.transaction.presume_abort_after_seconds,
            sweep=shards if is_sweep else (),
        )
        if is_sweep:
            clean_once(self._journal, background.connect_primary, KEEP_FINISHED_SECONDS)
