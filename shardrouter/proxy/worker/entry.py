"""Run one worker process: its link to the parent, its listeners, its end.

A worker ends when the work it was given returns, which it does once it is drained. It drains when
the parent asks for it, at SIGTERM, and when the link closes: then the parent died, and whoever
started it again has workers of his own.
"""

import argparse
import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import uvloop

from shardrouter.control.tasks import spawn
from shardrouter.errors import ShardRouterError
from shardrouter.proxy.control_link import ControlLink, error_to_data
from shardrouter.proxy.telemetry.log import set_up_logging
from shardrouter.proxy.worker.start import WorkerStart, settings_from_data, topology_from_text

logger = logging.getLogger(__name__)

Work = Callable[[WorkerStart], Coroutine[Any, Any, None]]

START_SECONDS: Final = 30.0  # the parent may be starting many workers on few processors
GRACE_SECONDS: Final = 2.0  # beyond proxy.drain_seconds: for goodbyes, then the process just ends


def run_process(work: Work, arguments: Sequence[str]) -> int:
    """Do the work until it returns, and return the exit code of the process."""
    given = _parsed(arguments)
    # The terminal's Ctrl-C and a service's SIGHUP mean the parent, which tells its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(work, given))


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m shardrouter.proxy.worker")
    parser.add_argument("--link-fd", type=int, required=True, help="socket pair to the parent")
    parser.add_argument("--listen-fds", default="", help="numbers of listening sockets: 5,6,7")
    return parser.parse_args(arguments)


async def _run(work: Work, given: argparse.Namespace) -> int:
    link = await ControlLink("the parent").open(socket.socket(fileno=given.link_fd))
    fds = [int(number) for number in given.listen_fds.split(",") if number]
    try:
        start = await _ask_for_start(link, fds)
        set_up_logging(start.settings.proxy.log_format)
        with _Ending(start).watched():
            await work(start)
        return 0
    except ShardRouterError as error:
        # The parent knows whether this is the first start, and tells it in one line then.
        with suppress(ShardRouterError):
            await link.ask("failed", error=error_to_data(error))
        return 1
    finally:
        link.close()


async def _ask_for_start(link: ControlLink, fds: Sequence[int]) -> WorkerStart:
    told = await link.ask("start", timeout_seconds=START_SECONDS)
    return WorkerStart(
        index=int(told["index"]),
        workers=int(told["workers"]),
        settings=settings_from_data(told["settings"]),
        settings_path=Path(told["settings_path"]),
        topology=topology_from_text(told["topology"]),
        listeners=tuple(socket.socket(fileno=fd) for fd in fds),
        link=link,
        mock_secret=bytes.fromhex(told["mock_secret"]),
    )


class _Ending:
    """Drains the worker at SIGTERM and when the parent is gone, and bounds how long that takes."""

    def __init__(self, start: WorkerStart) -> None:
        self._link = start.link
        self._drain_seconds = start.settings.proxy.drain_seconds
        self._is_ending = False
        self._tasks: list[asyncio.Task[None]] = []

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch signals and parent for as long as the work runs."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._begin, "sigterm")
        self._tasks.append(spawn(self._wait_for_parent(), name="watch the parent"))
        try:
            yield
        finally:
            for task in self._tasks:
                task.cancel()

    async def _wait_for_parent(self) -> None:
        await self._link.wait_closed()
        self._begin("parent_gone")

    def _begin(self, reason: str) -> None:
        if self._is_ending:
            return
        self._is_ending = True
        logger.info("worker_drains reason=%s pid=%d", reason, os.getpid())
        loop = asyncio.get_running_loop()
        loop.call_later(self._drain_seconds + GRACE_SECONDS, os._exit, 1)
        if self._link.has_answer_to("drain"):
            self._tasks.append(spawn(self._drain(), name="drain"))
        else:
            os._exit(1)  # not serving yet: nobody to say goodbye to

    async def _drain(self) -> None:
        await self._link.call_own("drain", deadline_seconds=self._drain_seconds)
