"""Measure how late the event loop runs its timers: the first sign of a worker that is too busy."""

import asyncio
from typing import Final

from shardrouter.proxy.telemetry.metrics_snapshot import empty_histogram, observe

EVERY_SECONDS: Final = 0.1


class LoopDelay:
    """Keeps a histogram of the delays."""

    def __init__(self) -> None:
        self.histogram = empty_histogram()

    async def run(self) -> None:
        """Measure until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + EVERY_SECONDS
            await asyncio.sleep(EVERY_SECONDS)
            observe(self.histogram, max(0.0, loop.time() - due))
