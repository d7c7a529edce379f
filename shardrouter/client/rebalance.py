"""``router.rebalance``: plans and moves of slots, from Python, for both routers."""

import asyncio
import getpass
import os
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from shardrouter.catalog import JournalEvent, Move
from shardrouter.client.core import RouterCore
from shardrouter.rebalance import (
    WATCH_EVERY_SECONDS,
    Batch,
    MoveStatus,
    MoveWatch,
    OnProgress,
    Rebalance,
    RebalancePlan,
    Stop,
    Verification,
    Wanted,
    ignore,
)

T = TypeVar("T")


class RouterRebalance(Rebalance):
    """``Rebalance`` of a router: when a move has been carried out, the router knows it."""

    def __init__(self, core: RouterCore) -> None:
        _ = core.topology  # raises RouterClosed
        super().__init__(core.settings, core.background.store, actor=_actor())
        self._core = core

    def run(self, numbers: Sequence[int], **how: Any) -> list[Move]:
        """Carry moves out, see ``Rebalance.run``."""
        try:
            return super().run(numbers, **how)
        finally:
            timeout = self._core.settings.catalog.statement_timeout_seconds
            self._core.background.keeper.refresh(timeout)


class AsyncRebalance:
    """The same for asyncio: every call runs in a thread. Parameters and errors are the same."""

    def __init__(self, core: RouterCore) -> None:
        self._sync = RouterRebalance(core)

    async def plan(
        self, wanted: Wanted | None = None, loads: Sequence[float] | None = None
    ) -> RebalancePlan:
        """Return the moves that make the shards even."""
        return await asyncio.to_thread(self._sync.plan, wanted, loads)

    async def plan_by_hand(self, batch: Batch) -> RebalancePlan:
        """Return the plan of one move of your choice."""
        return await asyncio.to_thread(self._sync.plan_by_hand, batch)

    async def create(
        self, plan: RebalancePlan, *, reason: str = "rebalance", soak_seconds: float | None = None
    ) -> list[Move]:
        """Write the moves of a plan into the catalog; nothing moves yet."""
        return await asyncio.to_thread(
            self._sync.create, plan, reason=reason, soak_seconds=soak_seconds
        )

    async def run(
        self,
        numbers: Sequence[int],
        *,
        jobs: int = 1,
        wait: bool = True,
        keep_going: bool = False,
        on_progress: OnProgress = ignore,
    ) -> list[Move]:
        """Carry moves out. Cancelled, it stops where no writer waits, then is cancelled.

        on_progress is called in other threads.
        """
        return await _until_stopped(
            lambda stop: self._sync.run(
                numbers,
                jobs=jobs,
                wait=wait,
                keep_going=keep_going,
                on_progress=on_progress,
                stop=stop,
            )
        )

    async def apply(
        self,
        plan: RebalancePlan,
        *,
        jobs: int = 1,
        soak_seconds: float | None = None,
        reason: str = "rebalance",
        wait: bool = True,
        on_progress: OnProgress = ignore,
    ) -> list[Move]:
        """Create the moves of a plan and carry them out, see ``run``."""
        return await _until_stopped(
            lambda stop: self._sync.apply(
                plan,
                jobs=jobs,
                soak_seconds=soak_seconds,
                reason=reason,
                wait=wait,
                on_progress=on_progress,
                stop=stop,
            )
        )

    async def move(self, number: int) -> MoveStatus:
        """Return how a move stands."""
        return await asyncio.to_thread(self._sync.move, number)

    async def moves(self, *, unfinished: bool = False, limit: int = 100) -> list[MoveStatus]:
        """Return moves, the newest first; unfinished ones the oldest first."""
        return await asyncio.to_thread(self._sync.moves, unfinished=unfinished, limit=limit)

    async def status(self) -> list[MoveStatus]:
        """Return the moves that are not over."""
        return await asyncio.to_thread(self._sync.status)

    async def history(self, number: int) -> list[JournalEvent]:
        """Return what the journal tells of a move."""
        return await asyncio.to_thread(self._sync.history, number)

    async def verify(self, number: int) -> Verification:
        """Compare the rows of a move on both sides."""
        return await asyncio.to_thread(self._sync.verify, number)

    async def pause(self, *, reason: str = "rebalance pause") -> list[MoveStatus]:
        """Ask every unfinished move to rest."""
        return await asyncio.to_thread(self._sync.pause, reason=reason)

    async def go_on(self, *, reason: str = "rebalance resume") -> list[MoveStatus]:
        """Ask moves that rest to go on; ``run`` carries them out."""
        return await asyncio.to_thread(self._sync.go_on, reason=reason)

    async def abort_all(self, *, reason: str = "rebalance abort") -> list[MoveStatus]:
        """Ask every move that may still be given up to do so."""
        return await asyncio.to_thread(self._sync.abort_all, reason=reason)

    async def abort(self, number: int, *, reason: str = "move abort") -> MoveStatus:
        """Ask a move to be given up."""
        return await asyncio.to_thread(self._sync.abort, number, reason=reason)

    async def reverse(self, number: int, *, reason: str = "move reverse") -> MoveStatus:
        """Ask a soaking move to bring its slots back."""
        return await asyncio.to_thread(self._sync.reverse, number, reason=reason)

    async def finish(self, number: int, *, reason: str = "move finish") -> MoveStatus:
        """Ask a soaking move to soak no longer."""
        return await asyncio.to_thread(self._sync.finish, number, reason=reason)

    async def limit(
        self, limits: Mapping[str, Any], *, reason: str = "rebalance limits"
    ) -> list[MoveStatus]:
        """Change limits of all unfinished moves while they run."""
        return await asyncio.to_thread(self._sync.limit, limits, reason=reason)


def watch_moves(core: RouterCore) -> None:
    """Have the router look after moves in the background, see ``MoveWatch``."""
    background = core.background
    # Several routers of a process are several owners: one must not claim what another one has.
    owner = f"library {socket.gethostname()}:{os.getpid()}:{secrets.token_hex(2)}"
    watch = MoveWatch(lambda: core.settings, background.store, background.keeper.current, owner)
    background.every(WATCH_EVERY_SECONDS, watch.run_once, name="moves")
    background.before_stop(watch.close)


async def _until_stopped(work: Callable[[Stop], T]) -> T:
    """Run blocking work in a thread; cancelled, ask it to stop and wait until it has."""
    stop = Stop()
    running = asyncio.ensure_future(asyncio.to_thread(work, stop))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([running])
        raise


def _actor() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a numeric uid without a name, as in containers
        user = "library"
    return f"{user}@{socket.gethostname()}"
