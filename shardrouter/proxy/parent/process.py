"""The parent process: owns the listening sockets and the workers, and serves no client itself.

It starts, drains and ends everything in order; what it answers to workers is in parent_answers.
"""

import asyncio
import logging
import signal
from collections.abc import Callable
from typing import Final

from shardrouter.control.tasks import spawn, supervised
from shardrouter.errors import ShardRouterError
from shardrouter.proxy.host.file_lock import sign_lock
from shardrouter.proxy.host.listening_sockets import Listeners
from shardrouter.proxy.host.run_directory import control_path
from shardrouter.proxy.parent.answers import ParentAnswers
from shardrouter.proxy.parent.claim import Claim
from shardrouter.proxy.parent.crew import Crew
from shardrouter.proxy.parent.http import ParentHttp
from shardrouter.proxy.parent.plan import ParentPlan
from shardrouter.proxy.parent.quota_broker import QuotaBroker
from shardrouter.proxy.parent.reload import Reloader
from shardrouter.proxy.parent.takeover import TakeoverDoor, gifts_of
from shardrouter.proxy.parent.watchdog import Watchdog
from shardrouter.proxy.parent.worker_process import WorkerLife

logger = logging.getLogger(__name__)

TAKEOVER_SECONDS: Final = 60.0  # for the workers of a successor to serve
DEATHS_AT_START: Final = 5  # of workers before any served: it will not get better


class Parent:
    """One running proxy. ``run`` is its whole life."""

    def __init__(self, plan: ParentPlan, claim: Claim, listeners: Listeners) -> None:
        self._claim = claim
        self._listeners = listeners
        self._is_handed_over = False
        self._ending = asyncio.Event()
        self._in_a_hurry = asyncio.Event()
        self._served = asyncio.Event()
        self._failure: ShardRouterError | None = None
        self._deaths = 0
        self._has_served = False
        self._crew = Crew(
            plan.workers,
            plan.worker_command,
            lambda index: listeners.of_worker(index, plan.workers),
            self,
            lambda: self._reloader.settings.proxy.drain_seconds,
        )
        self._reloader = Reloader(plan, self._crew)
        self._broker = QuotaBroker(self._reloader)
        self._http = ParentHttp(plan.settings.proxy.http_listen, self._crew, self._unready)
        self._answers = ParentAnswers(
            self._crew, self._reloader, self._broker, self.end, self._worker_serves
        )
        self._door = TakeoverDoor(
            control_path(claim.directory), lambda: gifts_of(listeners, claim.lock), self._hand_over
        )

    async def run(self) -> int:
        """Serve until told to end, and return the exit code. Raises what kept it from serving."""
        self._handle_signals()
        balancing = spawn(self._broker.run(), name="quota")
        watching = spawn(
            supervised(Watchdog(self._crew.serving).run, name="watchdog"), name="watchdog"
        )
        try:
            await self._start()
            await self._ending.wait()
        finally:
            watching.cancel()
            await self._leave()
            balancing.cancel()
        if self._failure is not None:
            raise self._failure
        return 0

    def end(self, reason: str = "asked") -> None:
        """Begin to drain; when that is under way already, stop waiting."""
        if self._ending.is_set():
            logger.warning("proxy_ends_now reason=%s", reason)
            self._in_a_hurry.set()
            return
        seconds = self._reloader.settings.proxy.drain_seconds
        logger.info("proxy_drains reason=%s seconds=%g", reason, seconds)
        self._ending.set()

    def born(self, life: WorkerLife, restarts: int) -> None:
        logger.info("worker_started worker=%d pid=%d restarts=%d", life.index, life.pid, restarts)
        self._answers.connect(life)
        self._http.retired.born(life.pid, is_restart=restarts > 0)

    def gone(self, life: WorkerLife) -> None:
        if self._ending.is_set():
            return
        if life.error is not None:
            logger.error(
                "worker_failed worker=%d pid=%d reason=%s", life.index, life.pid, life.error.message
            )
        if self._has_served:
            return
        self._deaths += life.error is None
        if life.error is not None and not life.error.retryable:
            self._fail(life.error)
        elif self._deaths >= DEATHS_AT_START * self._crew.size:
            self._fail(
                ShardRouterError(
                    "the workers end as soon as they start", hint="see the log lines above"
                )
            )

    def ended(self, life: WorkerLife) -> None:
        self._broker.forget(life.number)
        self._http.retired.bury(life.pid)

    def _unready(self) -> str | None:
        if self._ending.is_set():
            return "the proxy drains and will stop"
        return None if self._has_served else "the proxy starts: not every worker serves yet"

    def _worker_serves(self) -> None:
        if self._crew.are_all_serving() and not self._has_served:
            logger.info("proxy_serves workers=%d", self._crew.size)
            self._has_served = True
            self._served.set()

    def _fail(self, error: ShardRouterError) -> None:
        self._failure = self._failure or error
        self._ending.set()

    async def _start(self) -> None:
        for address in self._listeners.addresses():
            logger.info("proxy_listens address=%s workers=%d", address, self._crew.size)
        self._crew.start()
        inheritance = self._claim.inheritance
        if inheritance is None:
            self._door.open()
            self._http.start(self._fail)
        else:
            await self._serve_within(TAKEOVER_SECONDS)
            if self._ending.is_set():
                return
            self._door.open()
            await asyncio.to_thread(inheritance.say_ready)
            sign_lock(self._claim.lock)
            if self._listeners.unix is not None:
                sign_lock(self._listeners.unix.lock)
            self._claim.inheritance = None
            self._http.start(None)

    async def _serve_within(self, seconds: float) -> None:
        """Wait until all workers serve, or the end has come."""
        waits = {spawn(event.wait(), name="start") for event in (self._served, self._ending)}
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if not self._served.is_set() and not self._ending.is_set():
            self._fail(
                ShardRouterError(
                    f"the workers did not serve within {seconds:g} s; the proxy that runs goes on",
                    hint="see the log lines above",
                )
            )

    async def _hand_over(self) -> None:
        """A successor serves: let go of what is its now."""
        self._is_handed_over = True
        await self._http.stop()
        self.end("taken_over")

    async def _leave(self) -> None:
        # A predecessor that was not told to drain goes on with the same sockets.
        theirs = self._is_handed_over or self._door.is_busy or self._claim.inheritance is not None
        self._door.close(is_handed_over=theirs)
        seconds = 0.0 if self._failure else self._reloader.settings.proxy.drain_seconds
        draining = spawn(self._crew.drain(seconds, keeps_idle=self._is_handed_over), name="drain")
        # Closed at once: new clients shall be refused, not wait in a queue that nobody serves.
        self._listeners.close(is_handed_over=theirs)
        hurry = spawn(self._in_a_hurry.wait(), name="hurry")
        await asyncio.wait({draining, hurry}, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if not draining.done():
            await self._crew.end_now()
        await draining
        await self._http.stop()
        self._claim.release(is_handed_over=theirs)
        logger.info("proxy_ended")

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        handlers: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGTERM: lambda: self.end("sigterm"),
            signal.SIGINT: lambda: self.end("sigint"),
            signal.SIGHUP: self._reloader.reload_soon,
        }
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
