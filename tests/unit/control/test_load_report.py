"""Reports of queries by slot: when there is one, what a failure leaves, and the last one."""

import asyncio
import logging
from collections.abc import Mapping

import pytest

from shardrouter.control import LoadReport
from shardrouter.errors import CatalogUnavailable
from shardrouter.topology import HALF_LIFE_SECONDS, Slot

A, B = Slot(3), Slot(7)


class Router:
    """Queries to be taken, a clock, and a catalog that may be down."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.new: dict[Slot, int] = {}
        self.told: list[dict[Slot, float]] = []
        self.is_down = False
        self.asked = 0
        self.report = LoadReport(self.take, self.tell, lambda: self.now)

    def take(self) -> Mapping[Slot, int]:
        taken, self.new = self.new, {}
        return taken

    def tell(self, queries: Mapping[Slot, float]) -> None:
        self.asked += 1
        if self.is_down:
            raise CatalogUnavailable("the catalog does not answer: down")
        self.told.append(dict(queries))


async def test_only_news_are_reported() -> None:
    router = Router()
    await router.report.report()
    assert router.asked == 0
    router.new = {A: 8}
    await router.report.report()
    await router.report.report()
    assert router.told == [{A: 8}]
    router.now += HALF_LIFE_SECONDS
    router.new = {B: 1}
    await router.report.report()
    assert router.told[1:] == [{A: 4, B: 1}]


async def test_what_failed_is_said_once_and_repeated(caplog: pytest.LogCaptureFixture) -> None:
    router = Router()
    router.is_down, router.new = True, {A: 8}
    with caplog.at_level(logging.WARNING, "shardrouter.control.load_report"):
        for _ in range(3):
            await router.report.report()
    assert router.asked == 3
    assert [record.getMessage().split()[0] for record in caplog.records] == ["load_report_failed"]
    router.is_down = False
    await router.report.report()
    assert router.told == [{A: 8}]


async def test_the_end_is_reported() -> None:
    router = Router()
    running = asyncio.ensure_future(router.report.run())
    await asyncio.sleep(0)
    router.new = {A: 1}
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert router.told == [{A: 1}]


async def test_the_end_does_not_wait_for_a_catalog_that_is_down() -> None:
    router = Router()
    running = asyncio.ensure_future(router.report.run())
    await asyncio.sleep(0)
    router.is_down, router.new = True, {A: 1}
    await router.report.report()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert router.asked == 1
