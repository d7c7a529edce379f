"""Start background work so that its failure is always told, and loops come back after one.

The only place outside the doors that catches ``Exception``.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 10.0


def spawn(work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
    """Start a named task whose failure is logged. The caller keeps the task, else it may vanish."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    task.add_done_callback(_report_failure)
    return task


async def supervised(
    make: Callable[[], Awaitable[None]],
    *,
    name: str,
    first_pause_seconds: float = FIRST_PAUSE_SECONDS,
    longest_pause_seconds: float = LONGEST_PAUSE_SECONDS,
) -> None:
    """Run a loop until it returns or is cancelled; start it again when it fails.

    Pauses double from the first to the longest, and start over after a run that lasted longer
    than the longest pause.
    """
    now = asyncio.get_running_loop().time
    pause = first_pause_seconds
    while True:
        started = now()
        try:
            await make()
            return
        except Exception:
            if now() - started > longest_pause_seconds:
                pause = first_pause_seconds
            logger.exception("loop_failed name=%s restart_in_seconds=%.1f", name, pause)
        await asyncio.sleep(pause)
        pause = min(longest_pause_seconds, pause * 2)


def call_safely(call: Callable[..., object], *args: object, name: str) -> None:
    """Call somebody else's code; log its failure instead of passing it on."""
    try:
        call(*args)
    except Exception:
        logger.exception("callback_failed name=%s", name)


def ask_safely(call: Callable[..., T], *args: object, name: str) -> T | None:
    """Return what somebody else's code returns; None, and a line in the log, when it fails."""
    try:
        return call(*args)
    except Exception:
        logger.exception("callback_failed name=%s", name)
        return None


def _report_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("task_failed name=%s", task.get_name(), exc_info=error)
