"""Keep this process's topology current, and stop trusting it when the catalog is silent too long.

The lease is extended only by a heartbeat that was answered "the epoch you serve is current", and
counts from before that heartbeat was sent: so it ends here before it ends in the catalog.
Invariants: the epoch never goes backwards; a topology is served before it is acknowledged, never
the other way round; and an epoch is called drained only after it is served.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from importlib.metadata import version
from typing import Final
from uuid import UUID, uuid4

from shardrouter.catalog import CatalogStore, Registration
from shardrouter.config import CatalogSettings
from shardrouter.control.catalog_listener import listen_for_changes
from shardrouter.control.drain import DrainCheck, DrainWatch
from shardrouter.control.lease import LeaseClock, lease_clock
from shardrouter.control.tasks import call_safely, spawn
from shardrouter.errors import (
    CatalogUnavailable,
    LeaseExpired,
    ShardRouterError,
    TopologyError,
)
from shardrouter.topology import Epoch, Slot, Topology

logger = logging.getLogger(__name__)

HEARTBEATS_A_LEASE: Final = 3  # one may fail, and be repeated, before the lease ends
RETRIES_A_LEASE: Final = 10
MIN_PAUSE_SECONDS: Final = 0.02  # between two questions, however many ask for one
DRAIN_CHECK_SECONDS: Final = 0.01  # a move, and writers that are held back, wait for the answer
FIRST_DRAIN_CHECK_SECONDS: Final = 0.001  # most transactions end soon; then ever longer
MAX_ROUNDS: Final = 5  # of load and acknowledge, while others publish
SIGN_OFF_SECONDS: Final = 2.0

OnChange = Callable[[Topology], None]


class TopologyKeeper:
    """Holds the current topology. ``start`` and ``run`` belong to one event loop.

    ``current``, ``request_refresh``, ``refresh`` and ``on_change`` may be called from any thread.
    """

    def __init__(
        self,
        store: CatalogStore,
        settings: CatalogSettings,
        *,
        kind: str = "library",
        clock: LeaseClock = lease_clock,
        new_id: Callable[[], UUID] = uuid4,
    ) -> None:
        self._store = store
        self._settings = settings
        self._kind = kind
        self._clock = clock
        self._new_id = new_id
        self._topology: Topology | None = None
        self._lease_deadline = float("-inf")
        self._heartbeat_due = float("-inf")
        self._me: Registration | None = None
        self._problem = "the router was not started"
        self._watchers: list[OnChange] = []
        self._lease_watchers: list[Callable[[float], None]] = []
        self._waiters: list[Future[None]] = []
        self._drain = DrainWatch()
        self._told: tuple[Epoch, Epoch, Epoch] | None = None
        self._wake = asyncio.Event()
        self._news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def current(self) -> Topology:
        """Return the topology to route by. Raises LeaseExpired."""
        # Race: the deadline is read before the topology, and written after it.
        if self._clock() < self._lease_deadline:
            return self._topology  # type: ignore[return-value]
        raise self._expired()

    def lease_seconds_left(self) -> float:
        """Return how long the topology may still be trusted without another answer."""
        return max(0.0, self._lease_deadline - self._clock())

    def request_refresh(self) -> None:
        """Ask for the newest topology soon; do not wait."""
        self._tell_loop(self._wake.set)

    def refresh(self, timeout_seconds: float) -> Topology:
        """Ask the catalog now, wait for its answer at most so long, return the topology then.

        Blocks: not for the keeper's own event loop. Raises LeaseExpired.
        """
        done: Future[None] = Future()
        if self._tell_loop(self._add_waiter, done):
            with suppress(TimeoutError):
                done.result(timeout_seconds)
        return self.current()

    def on_change(self, callback: OnChange) -> None:
        """Have ``callback(topology)`` called on the keeper's loop after each change."""
        self._watchers.append(callback)

    def watch_drain(self, check: DrainCheck) -> None:
        """Have ``check(topology)`` asked, on the keeper's loop, what of earlier work is open.

        It is asked for topologies with slots in motion: after each change, and again every 10 ms
        until all is drained. The catalog is told at once. Without a check nothing is ever open.
        """
        self._drain.watch(check)

    def on_lease(self, callback: Callable[[float], None]) -> None:
        """Have ``callback(deadline)`` called, now and whenever the lease's end moves.

        The deadline is on ``control.lease_clock``.
        """
        self._lease_watchers.append(callback)
        callback(self._lease_deadline)

    def report_loads(self, queries: Mapping[Slot, float]) -> None:
        """Tell the catalog, in this router's name, how many queries each slot had.

        Blocks. Raises CatalogUnavailable, SettingsError.
        """
        if self._me is not None:
            self._store.router_loads().report(self._me, queries)

    async def start(self) -> Topology:
        """Load the topology, register this router, and return the topology.

        Raises CatalogUnavailable, SettingsError (no catalog there, or of another version),
        UnknownShard when the fleet has no shards yet.
        """
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._store.check)
        fleet = await asyncio.to_thread(self._store.fleet)
        name = f"{socket.gethostname()}:{os.getpid()}"
        self._me = Registration(self._new_id(), fleet.id, self._kind, name, version("shardrouter"))
        new = await asyncio.to_thread(self._store.load)
        self._take(new.epoch, new)
        await self._catch_up()
        self._problem = ""
        return self.current()

    async def run(self) -> None:
        """Watch the catalog until cancelled; then sign off. ``start`` comes first."""
        listener = None
        if self._settings.listen:
            listener = spawn(
                listen_for_changes(self._settings, self._hear), name="catalog listener"
            )
        try:
            while True:
                self._wake.clear()
                self._news.clear()
                asked_at = self._now()
                waiters, self._waiters = self._waiters, []
                await self._try_to_catch_up()
                _answer(waiters)
                await self._rest()
                await _wait(self._news, asked_at + MIN_PAUSE_SECONDS - self._now())
        except asyncio.CancelledError:
            await self._sign_off()
            raise
        finally:
            if listener is not None:
                listener.cancel()
            _answer(self._waiters)

    async def _rest(self) -> None:
        """Wait until there is something to ask or to tell."""
        deadline = self._now() + self._pause()
        until_check = FIRST_DRAIN_CHECK_SECONDS
        while not self._wake.is_set() and (left := deadline - self._now()) > 0:
            if not self._drain.is_waiting:
                await _wait(self._wake, left)
            elif self._look_at_drain():
                self._news.set()
                return
            else:
                await _wait(self._wake, min(left, until_check))
                until_check = min(2 * until_check, DRAIN_CHECK_SECONDS)

    def _hear(self, epoch: int | None) -> None:
        """A topology was published, or (None) perhaps, while nobody listened."""
        if epoch is None or epoch > self._epoch:
            self._news.set()
            self._wake.set()

    async def _try_to_catch_up(self) -> None:
        try:
            await self._catch_up()
        except ShardRouterError as error:
            if error.message != self._problem:
                level = logging.WARNING if isinstance(error, CatalogUnavailable) else logging.ERROR
                logger.log(level, "catalog_trouble epoch=%d %s", self._epoch, error)
            self._problem = error.message
            return
        if self._problem:
            logger.info("catalog_answers epoch=%d", self._epoch)
        self._problem = ""

    async def _catch_up(self) -> None:
        """Take the newest topology if there is one; send the heartbeat if it is due."""
        self._look_at_drain()
        if self._clock() < self._heartbeat_due and self._told == self._to_tell():
            current, new = await asyncio.to_thread(self._store.look, self._epoch)
            if current == self._epoch:
                return
            self._take(current, new)
        for _ in range(MAX_ROUNDS):
            current = await self._send_heartbeat()
            if current == self._epoch:
                return
            self._take(*await asyncio.to_thread(self._store.look, self._epoch))

    async def _send_heartbeat(self) -> Epoch:
        """Say what is served here, and return the current epoch."""
        assert self._me is not None
        sent_at, lease_seconds = self._clock(), self._settings.lease_seconds
        epoch, readers, writers = telling = self._to_tell()
        current = await asyncio.to_thread(
            self._store.heartbeat, self._me, epoch, lease_seconds, readers, writers
        )
        self._told = telling
        if current == epoch:
            self._move_lease(sent_at + lease_seconds)
            self._heartbeat_due = sent_at + lease_seconds / HEARTBEATS_A_LEASE
        return current

    def _to_tell(self) -> tuple[Epoch, Epoch, Epoch]:
        return self._epoch, self._drain.readers, self._drain.writers

    def _look_at_drain(self) -> bool:
        return self._topology is not None and self._drain.look(self._topology)

    def _take(self, current: Epoch, new: Topology | None) -> None:
        """Serve the topology of that epoch, unless it is the one that is served."""
        if current < self._epoch:
            raise self._went_back(current)
        if new is None:
            return
        logger.info("topology_taken epoch=%d before=%d", new.epoch, self._epoch)
        self._topology = new
        for watcher in self._watchers:
            call_safely(watcher, new, name="topology watcher")
        self._look_at_drain()

    @property
    def _epoch(self) -> Epoch:
        return Epoch(0) if self._topology is None else self._topology.epoch

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _move_lease(self, deadline: float) -> None:
        self._lease_deadline = deadline
        for watcher in self._lease_watchers:
            call_safely(watcher, deadline, name="lease watcher")

    def _pause(self) -> float:
        """Seconds until the next question: the poll, or a heartbeat that is due or failed."""
        until_heartbeat = self._heartbeat_due - self._clock()
        if until_heartbeat <= 0:
            until_heartbeat = self._settings.lease_seconds / RETRIES_A_LEASE
        return min(self._settings.poll_seconds, until_heartbeat)

    async def _sign_off(self) -> None:
        # First stop serving, then say so: whoever publishes next does not wait for us.
        self._move_lease(float("-inf"))
        self._problem = "the router was closed"
        if self._me is None:
            return
        with suppress(ShardRouterError, TimeoutError):
            async with asyncio.timeout(SIGN_OFF_SECONDS):
                await asyncio.to_thread(self._store.sign_off, self._me.id)

    def _tell_loop(self, call: Callable[..., object], *args: object) -> bool:
        if self._loop is None:
            return False
        try:
            self._loop.call_soon_threadsafe(call, *args)
        except RuntimeError:  # the loop was closed with its router
            return False
        return True

    def _add_waiter(self, done: Future[None]) -> None:
        self._waiters.append(done)
        self._wake.set()

    def _went_back(self, current: Epoch) -> TopologyError:
        return TopologyError(
            f"the catalog is at epoch {current} although {self._epoch} was published:"
            " it was restored from an older copy",
            epoch=self._epoch,
            hint=f"publish the newest topology again until the epoch is past {self._epoch}, or"
            " start every router again to accept the older one",
        )

    def _expired(self) -> LeaseExpired:
        why = self._problem or "this process did not run for that long"
        return LeaseExpired(
            f"the lease of {self._settings.lease_seconds:g} s on the topology is over: {why}",
            epoch=self._epoch,
            hint="the router goes on by itself when the catalog confirms its topology;"
            " check the catalog with `shardrouter topology show`",
        )


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, at most so long."""
    if seconds > 0:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()


def _answer(waiters: list[Future[None]]) -> None:
    for waiter in waiters:
        waiter.set_result(None)
