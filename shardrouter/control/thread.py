"""Host the background loops of a process on one event loop in one daemon thread.

Sync and async routers use it alike, so that no loop depends on the application's event loop:
a lease is renewed also while that one is busy.
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from shardrouter.control.tasks import spawn, supervised
from shardrouter.errors import RouterClosed, ShardRouterError

logger = logging.getLogger(__name__)

T = TypeVar("T")

START_SECONDS: Final = 10.0  # the thread has only to make an event loop
CALL_SECONDS: Final = 60.0
STOP_SECONDS: Final = 5.0


class ControlThread:
    """One thread with one event loop: ``start``, then ``call`` and ``keep``, then ``stop``."""

    def __init__(self, name: str = "shardrouter-control") -> None:
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None
        self._loops: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the thread. Raises ShardRouterError when it does not come up."""
        self._thread.start()
        if not self._ready.wait(START_SECONDS):
            raise ShardRouterError(
                f"the control thread did not start within {START_SECONDS:g} s",
                hint="the machine is overloaded: try again",
            )

    def call(self, work: Coroutine[Any, Any, T], timeout_seconds: float = CALL_SECONDS) -> T:
        """Run a coroutine on the thread's loop and return what it returns.

        Not to be called on the thread itself. Raises what the coroutine raises, RouterClosed
        after ``stop``, ShardRouterError when it takes too long (it is cancelled then).
        """
        loop = self._running_loop(work)
        future = asyncio.run_coroutine_threadsafe(work, loop)
        try:
            return future.result(timeout_seconds)
        except TimeoutError:
            if not future.cancel():
                raise  # the coroutine itself timed out
            raise ShardRouterError(
                f"the control thread did not answer within {timeout_seconds:g} s",
                hint="a loop blocks it: see the log of shardrouter.control",
            ) from None

    def keep(self, make: Callable[[], Awaitable[None]], *, name: str) -> None:
        """Keep a loop running until ``stop``; see ``supervised``."""
        work = self._keep(make, name)
        asyncio.run_coroutine_threadsafe(work, self._running_loop(work)).result(START_SECONDS)

    def stop(self, deadline_seconds: float = STOP_SECONDS) -> None:
        """Cancel all loops, let them clean up, end the thread. Safe to call twice."""
        loop, ended = self._loop, self._ended
        if loop is None or ended is None:
            return
        self._loop = None
        loop.call_soon_threadsafe(ended.set)
        self._thread.join(deadline_seconds)
        if self._thread.is_alive():
            logger.warning("control_thread_lingers deadline_seconds=%.1f", deadline_seconds)

    @property
    def is_running(self) -> bool:
        return self._loop is not None and self._thread.is_alive()

    async def _keep(self, make: Callable[[], Awaitable[None]], name: str) -> None:
        self._loops.append(spawn(supervised(make, name=name), name=name))

    def _running_loop(self, work: Coroutine[Any, Any, Any]) -> asyncio.AbstractEventLoop:
        if self._loop is None or not self._thread.is_alive():
            work.close()
            raise RouterClosed(
                "the control thread is not running", hint="make a new router in this process"
            )
        return self._loop

    def _main(self) -> None:
        # The runner cancels what is left, waits for it, and closes the loop.
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._ready.set()
        await self._ended.wait()
        # The loops first: they end what they began, each in its way.
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
