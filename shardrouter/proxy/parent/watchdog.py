"""End workers that hang: they keep their share of new clients waiting, and nobody else sees it.

A worker that does not answer its parent for so long gets SIGKILL; its slot starts the next.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from shardrouter.control.tasks import spawn
from shardrouter.errors import ControlLost, ShardRouterError
from shardrouter.proxy.parent.worker_process import WorkerLife

logger = logging.getLogger(__name__)

EVERY_SECONDS: Final = 5.0
SILENT_SECONDS: Final = 30.0  # far beyond what a busy machine makes a healthy worker wait


class Watchdog:
    """Asks the workers that serve how they are, again and again."""

    def __init__(
        self,
        serving: Callable[[], Sequence[WorkerLife]],
        every_seconds: float = EVERY_SECONDS,
        silent_seconds: float = SILENT_SECONDS,
    ) -> None:
        self._serving = serving
        self._every_seconds = every_seconds
        self._silent_seconds = silent_seconds
        self._asked: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            while True:
                for life in self._serving():
                    if life.number not in self._asked:
                        self._asked[life.number] = spawn(self._ask(life), name=f"ask {life.pid}")
                await asyncio.sleep(self._every_seconds)
        finally:
            for task in self._asked.values():
                task.cancel()

    async def _ask(self, life: WorkerLife) -> None:
        try:
            # The second time: it may have been this process that was stopped meanwhile.
            if await self._is_silent(life, self._silent_seconds) and await self._is_silent(
                life, self._every_seconds
            ):
                self._end(life)
        finally:
            del self._asked[life.number]

    async def _is_silent(self, life: WorkerLife, seconds: float) -> bool:
        try:
            await life.link.ask("health", timeout_seconds=seconds)
        except ControlLost:
            return not life.link.is_closed
        except ShardRouterError:
            pass  # that is an answer, too
        return False

    def _end(self, life: WorkerLife) -> None:
        if life.process.returncode is None:
            logger.error(
                "worker_hangs worker=%d pid=%d silent_seconds=%g",
                life.index,
                life.pid,
                self._silent_seconds,
            )
            life.process.kill()
