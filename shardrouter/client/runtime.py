"""How the one synchronous core sleeps and runs things side by side under both routers.

``Router`` uses threads. ``AsyncRouter`` runs the same functions in SQLAlchemy's greenlet bridge:
blocking-looking calls suspend the greenlet and leave the event loop free. This is the only file
that knows the bridge.
"""

import asyncio
import select
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import Any, Protocol, TypeVar

from sqlalchemy.util import await_only, greenlet_spawn

T = TypeVar("T")


class Runtime(Protocol):
    """What the core needs of its surroundings."""

    def sleep(self, seconds: float) -> None:
        """Let the time pass without holding anybody else up."""

    def fan_out(self, calls: Sequence[Callable[[], T]]) -> list[T | Exception]:
        """Run the calls side by side; return each one's value or exception, in order."""

    def wait_ready(self, fileno: int, to_write: bool) -> None:
        """Wait until a socket may be read, or written."""

    def wait_for(self, done: Future[None], seconds: float) -> None:
        """Wait until another thread has set the future, at most so long."""

    def run_blocking(self, call: Callable[[], T]) -> T:
        """Run a call that truly blocks, such as a question to the catalog."""

    def close(self) -> None:
        """Release what the runtime holds."""


class ThreadRuntime:
    """Side by side means threads of a bounded pool."""

    def __init__(self, concurrency: int) -> None:
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="shardrouter-fan-out")

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def fan_out(self, calls: Sequence[Callable[[], T]]) -> list[T | Exception]:
        if len(calls) == 1:
            return [_outcome(calls[0])]
        # Each thread gets a copy of the context, so that commits join the caller's token scope.
        futures = [self._pool.submit(copy_context().run, _outcome, call) for call in calls]
        try:
            return [future.result() for future in futures]
        finally:
            wait(futures)  # also when interrupted: the threads still use their connections

    def wait_ready(self, fileno: int, to_write: bool) -> None:
        poll = select.poll()
        poll.register(fileno, select.POLLOUT if to_write else select.POLLIN)
        poll.poll()

    def wait_for(self, done: Future[None], seconds: float) -> None:
        wait([done], seconds)

    def run_blocking(self, call: Callable[[], T]) -> T:
        return call()

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class GreenletRuntime:
    """Side by side means tasks on the running event loop."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency

    def sleep(self, seconds: float) -> None:
        await_only(asyncio.sleep(seconds))

    def fan_out(self, calls: Sequence[Callable[[], T]]) -> list[T | Exception]:
        return await_only(self._gather(calls))

    async def _gather(self, calls: Sequence[Callable[[], T]]) -> list[T | Exception]:
        places = asyncio.Semaphore(self._concurrency)

        async def one(call: Callable[[], T]) -> T | Exception:
            async with places:
                return await greenlet_spawn(_outcome, call)

        # Cancelled, the group still waits for its tasks to end: nobody may touch their
        # connections before.
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(call)) for call in calls]
        return [task.result() for task in tasks]

    def wait_ready(self, fileno: int, to_write: bool) -> None:
        await_only(_ready(fileno, to_write))

    def wait_for(self, done: Future[None], seconds: float) -> None:
        await_only(asyncio.wait([asyncio.wrap_future(done)], timeout=seconds))

    def run_blocking(self, call: Callable[[], T]) -> T:
        return await_only(asyncio.to_thread(call))

    def close(self) -> None:
        return None


def _outcome(call: Callable[[], T]) -> T | Exception:
    try:
        return call()
    except Exception as error:
        return error


async def _ready(fileno: int, to_write: bool) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    add, remove = (
        (loop.add_writer, loop.remove_writer) if to_write else (loop.add_reader, loop.remove_reader)
    )
    add(fileno, ready.set)
    try:
        await ready.wait()
    finally:
        remove(fileno)


def run_in_bridge(call: Callable[..., T], *args: Any, **kwargs: Any) -> Awaitable[T]:
    """Run a core function from async code; what it waits for suspends only the calling task."""
    return greenlet_spawn(call, *args, **kwargs)


def wait_in_bridge(awaitable: Awaitable[T]) -> T:
    """Wait for a coroutine from a core function that runs in the bridge."""
    return await_only(awaitable)
