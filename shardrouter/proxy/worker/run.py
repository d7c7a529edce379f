"""What one worker does: keeps its topology, accepts clients, relays, answers the parent."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from shardrouter.catalog import CatalogStore, catalog_engine
from shardrouter.config import Settings
from shardrouter.control import LoadReport, Monitor, TopologyKeeper, spawn, supervised
from shardrouter.errors import ShardRouterError, StatementRefused
from shardrouter.proxy.admin import AdminContext
from shardrouter.proxy.admin.desk import AdminDesk
from shardrouter.proxy.login import open_door
from shardrouter.proxy.relay.plane import Plane
from shardrouter.proxy.relay.session import Session
from shardrouter.proxy.worker.doorstep import Doorstep
from shardrouter.proxy.worker.loop_delay import LoopDelay
from shardrouter.proxy.worker.move_watch import looking_after_moves
from shardrouter.proxy.worker.rows import WorkerRows
from shardrouter.proxy.worker.start import WorkerStart, settings_from_data
from shardrouter.proxy.worker.static_topology import StaticTopology
from shardrouter.proxy.worker.welcome import Welcome
from shardrouter.topology import Topology

logger = logging.getLogger(__name__)

FIRST_LOOK_SECONDS: Final = 0.01  # pauses while the monitor's first round is awaited
DRAIN_POLL_SECONDS: Final = 0.02
MOST_LOGINS: Final = 5000  # of one worker at once
GOODBYE: Final = "terminating connection due to administrator command"

Source = TopologyKeeper | StaticTopology


async def run_worker(start: WorkerStart) -> None:
    """Serve until drained."""
    async with _topology_source(start) as source:
        monitor = Monitor(start.settings.monitor, source)
        watching = spawn(supervised(monitor.run, name="monitor"), name="monitor")
        try:
            await _await_first_look(monitor, source.current(), start.settings)
            worker = Worker(start, source, monitor)
            async with looking_after_moves(start.index, source, lambda: worker.settings):
                await worker.serve()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


@asynccontextmanager
async def _topology_source(start: WorkerStart) -> AsyncIterator[Source]:
    if start.topology is not None:
        yield StaticTopology(start.topology)
        return
    catalog = start.settings.catalog
    store = CatalogStore(
        catalog_engine(
            catalog.dsn, catalog.connect_timeout_seconds, catalog.statement_timeout_seconds
        )
    )
    keeper = TopologyKeeper(store, catalog, kind="proxy")
    try:
        await keeper.start()
        keeping = spawn(supervised(keeper.run, name="topology keeper"), name="topology keeper")
        try:
            yield keeper
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
    finally:
        store.close()


async def _await_first_look(monitor: Monitor, topology: Topology, settings: Settings) -> None:
    """Without it the first clients would find no node they may use."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + settings.monitor.timeout_ms / 1000
    while not monitor.has_seen_all(topology) and loop.time() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(FIRST_LOOK_SECONDS)


class Worker:
    """One worker's parts, and its answers to the parent."""

    def __init__(self, start: WorkerStart, source: Source, monitor: Monitor) -> None:
        self.start = start
        self.settings = start.settings
        self.source = source
        self.monitor = monitor
        self.plane = Plane(start.settings, source, monitor, start.link)
        self.plane.number_clients(start.index, start.workers)
        if isinstance(source, TopologyKeeper):
            source.watch_drain(self.plane.drain)
            self.plane.may_learn = True
        self.delay = LoopDelay()
        self.rows = WorkerRows(self)
        self.desk = AdminDesk(self._admin_context())
        self.welcome = Welcome(self.plane, self.desk)
        self._mock_secret = start.mock_secret
        self.doorstep = Doorstep(
            start.listeners,
            self._open_door(),
            welcome=self.welcome,
            cancel=self._cancel_anywhere,
            has_room=self._has_room,
            login_timeout_seconds=start.settings.proxy.login_timeout_seconds,
            most_logins=MOST_LOGINS,
        )
        self._ended = asyncio.Event()

    async def serve(self) -> None:
        """Accept clients until drained."""
        self._answer_parent()
        sweeping = spawn(supervised(self.plane.sweep, name="sweep"), name="sweep")
        measuring = spawn(supervised(self.delay.run, name="loop delay"), name="loop delay")
        working = [sweeping, measuring, *self._report_loads()]
        self.doorstep.open()
        self.start.announce_ready()
        logger.info("worker_ready index=%d epoch=%d", self.start.index, self._epoch())
        try:
            await self._ended.wait()
        finally:
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)

    def _report_loads(self) -> list[asyncio.Task[None]]:
        """Start to report the queries by slot; without a catalog there is nobody to tell."""
        if not isinstance(self.source, TopologyKeeper):
            return []
        report = LoadReport(self.plane.queries.take, self.source.report_loads)
        return [spawn(supervised(report.run, name="load report"), name="load report")]

    def _epoch(self) -> int:
        try:
            return self.source.current().epoch
        except ShardRouterError:
            return 0

    def _has_room(self) -> bool:
        share = -(-self.settings.proxy.max_clients // self.start.workers)
        return len(self.plane.sessions) < share

    def _open_door(self, previous: Any = None) -> Any:
        return open_door(
            self.settings.proxy_auth,
            first_primary=self._first_primary,
            mock_secret=self._mock_secret,
            previous=previous,
        )

    def _first_primary(self) -> str:
        shard = self.source.current().shards[0]
        return self.plane.fleet.primary(shard).dsn

    def _admin_context(self) -> AdminContext:
        async def ask_all(verb: str, **arguments: Any) -> Any:
            return await self.start.link.ask("broadcast", verb=verb, arguments=arguments)

        async def parent(verb: str, **arguments: Any) -> Any:
            return await self.start.link.ask(verb, **arguments)

        return AdminContext(user="", ask_all=ask_all, parent=parent, settings=lambda: self.settings)

    async def _cancel_anywhere(self, pid: int, key: bytes) -> None:
        """Carry out a cancel request here, or by the worker whose client it is."""
        if not self._cancel_here(pid, key):
            await self.start.link.ask(
                "broadcast", verb="cancel", arguments={"pid": pid, "key": key.hex()}
            )

    def _cancel_here(self, pid: int, key: bytes) -> bool:
        return self.plane.cancel(pid, key) or self.desk.cancel(pid, key)

    # Answers to the parent

    def _answer_parent(self) -> None:
        link, plane = self.start.link, self.plane

        async def granted(pool: str) -> None:
            plane.granted(pool)

        async def shed(pool: str, count: int) -> None:
            plane.shed(pool, count)

        async def spare(pool: str, count: int) -> None:
            plane.spare(pool, count)

        async def cancel(pid: int, key: str) -> bool:
            return self._cancel_here(pid, bytes.fromhex(key))

        link.answer("granted", granted)
        link.answer("shed", shed)
        link.answer("spare", spare)
        link.answer("cancel", cancel)
        link.answer("show", self.rows.show)
        link.answer("metrics", self.rows.metrics)
        link.answer("health", self.rows.health)
        link.answer("pause", self._pause)
        link.answer("resume", self._resume)
        link.answer("kill", self._kill)
        link.answer("reload", self._reload)
        link.answer("drain", self._drain)

    def _pools(self, target: str) -> Any:
        if not target:
            return None
        return [p for p in self.plane.pools() if target in (p.shard.id, p.key.node)]

    async def _pause(self, target: str = "") -> None:
        self.plane.pause(self._pools(target))

    async def _resume(self, target: str = "") -> None:
        self.plane.resume(self._pools(target))

    async def _kill(self, client_id: int) -> bool:
        session = self.plane.sessions.get(client_id)
        if session is None:
            return False
        _say_goodbye(session)
        return True

    async def _reload(self, settings: dict[str, Any], topology: str | None) -> None:
        """Take new settings, or raise and keep the old."""
        before = self.settings
        self.settings = settings_from_data(settings)
        try:
            door = self._open_door(self.doorstep.door)
        except ShardRouterError:
            self.settings = before
            raise
        previous, self.doorstep.door = self.doorstep.door, door
        await previous.close()
        self.doorstep.login_timeout_seconds = self.settings.proxy.login_timeout_seconds
        self.plane.configure(self.settings)
        if topology is not None and isinstance(self.source, StaticTopology):
            self.source.replace(Topology.from_json(topology))

    async def _drain(self, deadline_seconds: float, keeps_idle: bool = False) -> None:
        """Accept nobody; let transactions end; close, at the latest after the deadline."""
        self.doorstep.close()
        for sock in self.start.listeners:
            sock.close()  # else the port stays taken, and clients wait in a queue for nobody
        self.plane.is_draining = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + deadline_seconds
        while self.plane.sessions and loop.time() < deadline:
            if not keeps_idle:
                for session in list(self.plane.sessions.values()):
                    if session.is_at_rest():
                        _say_goodbye(session)
            await asyncio.sleep(DRAIN_POLL_SECONDS)
        for session in list(self.plane.sessions.values()):
            _say_goodbye(session)
        await self.doorstep.end_logins()
        await self.desk.end_all("57P01", GOODBYE)
        for backend in list(self.plane.backends()):
            backend.close("the worker ends")
        self._ended.set()


def _say_goodbye(session: Session) -> None:
    session.end_with(StatementRefused(GOODBYE, sqlstate="57P01", hint="connect again"))
