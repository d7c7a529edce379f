"""Sample role, position and lag of every node, and keep the fleet's view current.

One loop a node on the control thread's event loop. A node that does not answer in time is down
in the view at once and is asked again with growing pauses; it rejoins with its first answer.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, Protocol

import psycopg

from shardrouter.config import MonitorSettings
from shardrouter.control.tasks import call_safely, spawn
from shardrouter.errors import TopologyError
from shardrouter.postgres import Probe, probe
from shardrouter.routing import FleetView, NodeSample, PrimaryTrail
from shardrouter.topology import Node, NodeId, Shard, ShardId, Topology

logger = logging.getLogger(__name__)

MAX_SAMPLES_PER_SECOND: Final = 200.0  # of all nodes together: about 5 % of a core
MAX_PAUSE_SECONDS: Final = 2.0  # between attempts to reach a node that is down
RESYNC_SECONDS: Final = 0.2  # how soon a new node is watched


class TopologySource(Protocol):
    """Where the monitor reads which nodes there are."""

    def current(self) -> Topology: ...


class Monitor:
    """Keeps ``view``: an immutable FleetView that is swapped whole.

    ``report_down`` may be called from any thread; everything else runs on one event loop.
    """

    def __init__(
        self,
        settings: MonitorSettings,
        topology: TopologySource,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.view = FleetView()
        self._settings = settings
        self._topology = topology
        self._clock = clock
        self._trails: dict[ShardId, PrimaryTrail] = {}
        self._watched: dict[NodeId, tuple[Node, asyncio.Task[None]]] = {}
        self._asked: dict[NodeId, asyncio.Event] = {}
        self._viewers: list[Callable[[], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        """Watch the topology's nodes until cancelled."""
        self._loop = asyncio.get_running_loop()
        try:
            while True:
                self._resync()
                await asyncio.sleep(RESYNC_SECONDS)
        finally:
            tasks = [task for _, task in self._watched.values()]
            self._watched.clear()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def report_down(self, node: NodeId, reason: str) -> None:
        """Note that a connection to the node failed, ahead of the next sample."""
        sample = NodeSample(node, at=self._clock(), error=reason)
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._put, sample)

    def on_view(self, callback: Callable[[], None]) -> None:
        """Have ``callback()`` called on the monitor's loop whenever ``view`` was swapped."""
        self._viewers.append(callback)

    def request_sample(self, node: NodeId) -> None:
        """Have the node sampled at once instead of after the pause. On the monitor's loop only."""
        asked = self._asked.get(node)
        if asked is not None:
            asked.set()

    def _resync(self) -> None:
        """Start and stop node loops so that they match the topology."""
        try:
            nodes = {node.id: (shard, node) for shard, node in self._topology.current().nodes()}
        except TopologyError:
            return  # no valid topology now: keep watching what we know
        for node_id, (node, task) in list(self._watched.items()):
            if node_id not in nodes or nodes[node_id][1] != node or task.done():
                task.cancel()
                del self._watched[node_id]
        for node_id, (shard, node) in nodes.items():
            if node_id not in self._watched:
                task = spawn(self._watch(shard, node), name=f"monitor {node_id}")
                self._watched[node_id] = (node, task)
        if self.view.samples.keys() - nodes.keys():
            self.view = self.view.without_strangers(frozenset(nodes))

    async def _watch(self, shard: Shard, node: Node) -> None:
        """Sample one node for ever, over one connection that is remade when it breaks."""
        asked = self._asked[node.id] = asyncio.Event()
        pause = self._pause()
        while True:
            connection: psycopg.AsyncConnection[Any] | None = None
            try:
                connection = await self._connect(node)
                while True:
                    asked.clear()
                    await self._sample(shard, node, connection)
                    pause = self._pause()
                    await _wait(asked, pause)
            except (psycopg.Error, OSError, TimeoutError) as error:
                self._put_down(node, error)
                asked.clear()
                await _wait(asked, pause)
                pause = min(MAX_PAUSE_SECONDS, pause * 1.5)
            finally:
                if connection is not None:
                    await connection.close()

    async def _connect(self, node: Node) -> psycopg.AsyncConnection[Any]:
        async with asyncio.timeout(self._settings.timeout_ms / 1000):
            return await psycopg.AsyncConnection.connect(
                node.dsn,
                autocommit=True,
                application_name="shardrouter-monitor",
                tcp_user_timeout=3 * self._settings.timeout_ms,  # a cut cable, Linux only
            )

    async def _sample(
        self, shard: Shard, node: Node, connection: psycopg.AsyncConnection[Any]
    ) -> None:
        asked_at = self._clock()
        question = spawn(probe(connection), name=f"probe {node.id}")
        try:
            done, _ = await asyncio.wait({question}, timeout=self._settings.timeout_ms / 1000)
            if not done:
                # A frozen server: cancelling would wait for its answer too. Say it is down and
                # go on waiting; it answers when it thaws, or the connection breaks.
                self._put_down(node, TimeoutError(f"no answer in {self._settings.timeout_ms} ms"))
                await asyncio.wait({question})  # unlike `await question`, it cancels nothing
            answer = question.result()
        finally:
            if not question.done():
                # Else psycopg would cancel the query on the server, wait for its answer, and warn.
                connection.pgconn.finish()
                question.cancel()
        self._put(self._measured(shard, node, answer, asked_at))

    def _measured(self, shard: Shard, node: Node, answer: Probe, asked_at: float) -> NodeSample:
        sample = NodeSample(
            node.id,
            at=asked_at,
            in_recovery=answer.in_recovery,
            position=answer.position,
            system_id=answer.system_id,
        )
        trail = self._trails.setdefault(shard.id, PrimaryTrail())
        if not answer.in_recovery:
            # The position is read after asked_at, so "had this at asked_at" errs to the old side.
            trail.add(asked_at, answer.position)
            return sample
        return trail.measure(sample)

    def _put(self, sample: NodeSample) -> None:
        before = self.view.of(sample.node)
        if before is not None and before.at > sample.at:
            return  # a failure reported before a later good answer
        if before is not None and not sample.is_up:
            # A dead primary's last timeline tells a real successor from an impostor.
            sample = replace(before, at=sample.at, error=sample.error)
        if before is None or before.is_up != sample.is_up:
            state = "up" if sample.is_up else "down"
            logger.info("node_%s node=%s reason=%s", state, sample.node, sample.error)
        self.view = self.view.with_sample(sample)
        for viewer in self._viewers:
            call_safely(viewer, name="monitor viewer")

    def _put_down(self, node: Node, error: BaseException) -> None:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        self._put(NodeSample(node.id, at=self._clock(), error=reason[0]))

    def _pause(self) -> float:
        """Seconds between two samples of a node: stretched where there are very many."""
        return max(self._settings.every_ms / 1000, len(self._watched) / MAX_SAMPLES_PER_SECOND)

    def has_seen_all(self, topology: Topology) -> bool:
        """True when every node was asked at least once, whatever it answered."""
        return all(self.view.of(node.id) is not None for _, node in topology.nodes())


async def _wait(asked: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asked.wait()
