"""Wait for what will become true, instead of sleeping and hoping."""

import asyncio
import os
import time
from collections.abc import Callable
from typing import Final, TypeVar

POLL_SECONDS: Final = 0.01
SLOWNESS: Final = float(os.environ.get("SHARDROUTER_TEST_PATIENCE", "1"))
"""Factor on bounds that are asserted, for slow machines."""

PATIENCE: Final = max(3.0, SLOWNESS)
"""Factor on deadlines: waiting for longer hides nothing, and costs only where a test fails."""

T = TypeVar("T")


def eventually(predicate: Callable[[], T], deadline_seconds: float = 10.0) -> T:
    """Poll until the predicate is true and return its value; fail when the time runs out."""
    deadline = time.monotonic() + deadline_seconds * PATIENCE
    while not (value := predicate()):
        _check(deadline, predicate, value, deadline_seconds)
        time.sleep(POLL_SECONDS)
    return value


async def eventually_async(predicate: Callable[[], T], deadline_seconds: float = 10.0) -> T:
    """The same without blocking the event loop."""
    deadline = time.monotonic() + deadline_seconds * PATIENCE
    while not (value := predicate()):
        _check(deadline, predicate, value, deadline_seconds)
        await asyncio.sleep(POLL_SECONDS)
    return value


def _check(deadline: float, predicate: object, value: object, seconds: float) -> None:
    if time.monotonic() > deadline:
        raise AssertionError(f"not within {seconds:g} s: {predicate!r} gave {value!r}")
