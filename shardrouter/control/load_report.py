"""Tell the catalog now and then how many queries each slot had through this router.

A convenience for plans by load: it waits for nobody, nobody waits for it, and when the catalog
does not take it the router goes on as if it had.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from shardrouter.errors import ShardRouterError
from shardrouter.topology import FadingCounts, Slot

logger = logging.getLogger(__name__)

FIRST_SECONDS: Final = 1.0  # until something is told, so that a plan need not wait for long
REPORT_SECONDS: Final = 10.0
SIGN_OFF_SECONDS: Final = 2.0


class LoadReport:
    """Reports of one router. ``run`` belongs to one event loop.

    take: return the queries since it was asked last; called on the loop.
    tell: pass the faded counts on; blocks, called in a thread.
    """

    def __init__(
        self,
        take: Callable[[], Mapping[Slot, int]],
        tell: Callable[[Mapping[Slot, float]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._take = take
        self._tell = tell
        self._clock = clock
        self._counts = FadingCounts()
        self._is_due = False
        self._was_told = False
        self._problem = ""

    async def run(self) -> None:
        """Report until cancelled, and a last time then."""
        try:
            while True:
                await asyncio.sleep(REPORT_SECONDS if self._was_told else FIRST_SECONDS)
                await self.report()
        except asyncio.CancelledError:
            if not self._problem:
                with suppress(TimeoutError):
                    async with asyncio.timeout(SIGN_OFF_SECONDS):
                        await self.report()
            raise

    async def report(self) -> None:
        """Report if there is anything that was not told yet."""
        queries = self._take()
        if queries:
            self._counts.add(queries, self._clock())
            self._is_due = True
        if not self._is_due:
            return
        self._was_told = True  # or tried: a catalog in trouble is not asked more often
        try:
            await asyncio.to_thread(self._tell, self._counts.values())
        except ShardRouterError as error:
            if not self._problem:
                logger.warning("load_report_failed %s", error)
            self._problem = error.message
            return
        self._is_due, self._problem = False, ""
