"""The workers together: who serves, asking all of them, sending all of them home."""

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final

from shardrouter.control.tasks import spawn, supervised
from shardrouter.errors import ControlLost, ShardRouterError
from shardrouter.proxy.parent.worker_process import (
    GRACE_SECONDS,
    WorkerLife,
    WorkerSlot,
    WorkerWatcher,
)

logger = logging.getLogger(__name__)

ASK_ALL_SECONDS: Final = 4.0  # less than a worker waits, which asks the parent to ask everybody
NOW_SECONDS: Final = 1.0  # for goodbyes of workers that have to end at once


class Crew:
    """All worker slots of the parent."""

    def __init__(
        self,
        workers: int,
        command: Sequence[str],
        listeners: Callable[[int], Sequence[socket.socket]],
        watcher: WorkerWatcher,
        leave_seconds: Callable[[], float],
    ) -> None:
        self._slots = [
            WorkerSlot(index, command, listeners, watcher, leave_seconds)
            for index in range(workers)
        ]
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def size(self) -> int:
        return len(self._slots)

    def start(self) -> None:
        """Start a process for each slot, and go on doing so when one ends."""
        self._tasks = [
            spawn(supervised(slot.run, name=f"worker {slot.index}"), name=f"worker {slot.index}")
            for slot in self._slots
        ]

    async def wait_all_gone(self) -> None:
        """Wait until no process is left; ``drain`` or ``kill`` comes first."""
        await asyncio.gather(*self._tasks)

    def serving(self) -> list[WorkerLife]:
        """Return the workers that are ready."""
        return [slot.life for slot in self._slots if slot.life is not None and slot.life.is_ready]

    def are_all_serving(self) -> bool:
        return len(self.serving()) == len(self._slots)

    async def ask_all(
        self, verb: str, timeout_seconds: float = ASK_ALL_SECONDS, /, **arguments: Any
    ) -> list[Any]:
        """Return the answers of the workers that serve; those that die or hang meanwhile have none.

        Raises the ShardRouterError of a worker that refused, after all were asked.
        """
        answers = await self._asked(verb, timeout_seconds, arguments)
        for answer in answers:
            if isinstance(answer, ShardRouterError):
                raise answer
        return answers

    async def answers(self, verb: str) -> list[Any]:
        """Return the answers of those that give one, whatever the others do."""
        answers = await self._asked(verb, ASK_ALL_SECONDS, {})
        return [answer for answer in answers if not isinstance(answer, ShardRouterError)]

    async def _asked(
        self, verb: str, timeout_seconds: float, arguments: dict[str, Any]
    ) -> list[Any]:
        asked = [life.link for life in self.serving()]
        answers = await asyncio.gather(
            *(link.ask(verb, timeout_seconds=timeout_seconds, **arguments) for link in asked),
            return_exceptions=True,
        )
        heard = []
        for link, answer in zip(asked, answers, strict=True):
            if isinstance(answer, ControlLost):
                logger.warning("worker_silent name=%s verb=%s", link.name, verb)
            elif isinstance(answer, BaseException) and not isinstance(answer, ShardRouterError):
                raise answer
            else:
                heard.append(answer)
        return heard

    async def drain(self, seconds: float, *, keeps_idle: bool = False) -> None:
        """Let the workers finish until the deadline, then end them. Returns when all are gone.

        ``keeps_idle`` leaves it to idle clients to go before the deadline: none is disturbed.
        """
        for slot in self._slots:
            slot.stop()
            life = slot.life
            if life is None:
                continue
            if life.is_ready:
                life.link.tell("drain", deadline_seconds=seconds, keeps_idle=keeps_idle)
            else:
                slot.kill()  # it has no clients
        done = spawn(self.wait_all_gone(), name="workers leave")
        await asyncio.wait({done}, timeout=seconds + GRACE_SECONDS)
        for slot in self._slots:
            slot.kill()
        await done

    async def end_now(self) -> None:
        """Have clients told and closed at once. Returns when all workers are gone."""
        for slot in self._slots:
            if slot.life is not None:
                slot.life.link.tell("drain", deadline_seconds=0.0)
        done = spawn(self.wait_all_gone(), name="workers end")
        await asyncio.wait({done}, timeout=NOW_SECONDS)
        for slot in self._slots:
            slot.kill()
        await done

    def rows(self, now: float) -> list[dict[str, Any]]:
        """Return what is known of each worker, for ``SHOW WORKERS``."""
        return [_row(slot, now) for slot in self._slots]


def _row(slot: WorkerSlot, now: float) -> dict[str, Any]:
    life = slot.life
    return {
        "worker": slot.index,
        "pid": None if life is None else life.pid,
        "state": "gone" if life is None else "serving" if life.is_ready else "starting",
        "age_seconds": None if life is None else round(now - life.started_at, 1),
        "restarts": slot.restarts,
    }
