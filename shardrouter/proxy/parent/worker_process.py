"""Keep one worker process running: start it, notice its end, start the next.

A worker counts as gone when its process ended or its link was cut. In the latter case it drains
by itself beside its successor, and is killed when it takes too long.
"""

import asyncio
import itertools
import logging
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from shardrouter.control.tasks import spawn
from shardrouter.errors import ShardRouterError
from shardrouter.proxy.control_link import ControlLink

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 10.0  # a worker that lived longer than this is restarted at once
GRACE_SECONDS: Final = 3.0  # a worker ends itself a second before this runs out

_LIVES: Final = itertools.count(1)


@dataclass(slots=True, eq=False)
class WorkerLife:
    """One process of a worker, from its start to its end."""

    index: int
    link: ControlLink
    process: asyncio.subprocess.Process
    started_at: float
    number: int = field(default_factory=lambda: next(_LIVES))
    """Different for every process, also those of one worker."""

    is_ready: bool = False
    settings_version: int = 0
    """Of the settings it has, counted by the reloads."""

    error: ShardRouterError | None = None
    """Why it could not start, if it said so."""

    @property
    def pid(self) -> int:
        return self.process.pid


class WorkerWatcher(Protocol):
    """Who is told of the workers."""

    def born(self, life: WorkerLife, restarts: int) -> None:
        """A process runs; its link opens as soon as this returns."""

    def gone(self, life: WorkerLife) -> None:
        """It takes no clients any more."""

    def ended(self, life: WorkerLife) -> None:
        """Its process does not exist any more."""


class WorkerSlot:
    """One worker number, and the process that has it now."""

    def __init__(
        self,
        index: int,
        command: Sequence[str],
        listeners: Callable[[int], Sequence[socket.socket]],
        watcher: WorkerWatcher,
        leave_seconds: Callable[[], float],
    ) -> None:
        self.index = index
        self.life: WorkerLife | None = None
        self.restarts = 0
        self._command = command
        self._listeners = listeners
        self._watcher = watcher
        self._leave_seconds = leave_seconds
        self._is_stopping = asyncio.Event()
        self._processes: set[WorkerLife] = set()
        self._burials: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Keep a process running until ``stop``, and return when none is left."""
        pause = 0.0
        loop = asyncio.get_running_loop()
        while not self._is_stopping.is_set():
            started_at = loop.time()
            try:
                await self._live()
            except OSError as error:  # no more processes, memory or descriptors
                logger.error("worker_not_started worker=%d reason=%s", self.index, error)
            lived = loop.time() - started_at
            if lived > LONGEST_PAUSE_SECONDS:
                pause = 0.0
            if not self._is_stopping.is_set():
                self.restarts += 1
                await self._pause(pause)
            pause = min(LONGEST_PAUSE_SECONDS, max(FIRST_PAUSE_SECONDS, pause * 2))
        await asyncio.gather(*self._burials)

    def stop(self) -> None:
        """Start no further process."""
        self._is_stopping.set()

    def kill(self) -> None:
        """End every process of this slot now."""
        for life in self._processes:
            _kill(life)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._is_stopping.wait()
        except TimeoutError:
            pass

    async def _live(self) -> None:
        life = await self._start()
        if self._is_stopping.is_set():
            self.kill()  # it was not there yet when the others were sent home
        ended = spawn(life.process.wait(), name=f"worker {self.index}")
        cut = spawn(life.link.wait_closed(), name=f"link of worker {self.index}")
        try:
            await asyncio.wait({ended, cut}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            cut.cancel()
        life.link.close()
        self.life = None
        self._watcher.gone(life)
        burial = spawn(self._bury(life, ended), name=f"end of worker {self.index}")
        self._burials.add(burial)
        burial.add_done_callback(self._burials.discard)
        if life.process.returncode is not None or self._is_stopping.is_set():
            await burial

    async def _start(self) -> WorkerLife:
        ours, theirs = socket.socketpair()
        with theirs:
            fds = [sock.fileno() for sock in self._listeners(self.index)]
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._command,
                    *("--link-fd", str(theirs.fileno())),
                    *("--listen-fds", ",".join(map(str, fds))),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(), *fds),
                    process_group=0,  # Ctrl-C in a terminal is for the parent alone
                )
            except BaseException:
                ours.close()
                raise
        link = ControlLink(f"worker {self.index} (pid {process.pid})")
        self.life = WorkerLife(self.index, link, process, asyncio.get_running_loop().time())
        self._processes.add(self.life)
        self._watcher.born(self.life, self.restarts)
        await link.open(ours)
        return self.life

    async def _bury(self, life: WorkerLife, ended: asyncio.Task[int]) -> None:
        """Wait for the end of a process whose link is gone, and help it along."""
        seconds = self._leave_seconds() + GRACE_SECONDS
        done, _ = await asyncio.wait({ended}, timeout=seconds)
        if not done:
            logger.error(
                "worker_killed worker=%d pid=%d after=%.0fs", life.index, life.pid, seconds
            )
            _kill(life)
        code = await ended
        self._processes.discard(life)
        level = logging.INFO if code == 0 else logging.ERROR
        logger.log(level, "worker_ended worker=%d pid=%d how=%s", life.index, life.pid, _how(code))
        self._watcher.ended(life)


def _kill(life: WorkerLife) -> None:
    if life.process.returncode is None:
        life.process.kill()


def _how(code: int) -> str:
    if code >= 0:
        return f"exit_code_{code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal_{-code}"
