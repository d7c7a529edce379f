"""A worker that ends at once is started again, with pauses; stopping and killing end it."""

import asyncio
import sys

from shardrouter.proxy.parent.worker_process import WorkerLife, WorkerSlot
from tests.support.eventually import eventually_async

ENDS = (sys.executable, "-S", "-c", "import sys; sys.exit(3)")
STAYS = (sys.executable, "-S", "-c", "import time; time.sleep(60)")


class Watcher:
    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []
        self.restarts: list[int] = []

    def born(self, life: WorkerLife, restarts: int) -> None:
        self.seen.append(("born", life.number))
        self.restarts.append(restarts)

    def gone(self, life: WorkerLife) -> None:
        self.seen.append(("gone", life.number))

    def ended(self, life: WorkerLife) -> None:
        self.seen.append(("ended", life.number))


def slot_of(command: tuple[str, ...], watcher: Watcher) -> WorkerSlot:
    return WorkerSlot(0, command, lambda index: [], watcher, lambda: 0.0)


async def test_pauses_grow_between_restarts() -> None:
    watcher = Watcher()
    slot = slot_of(ENDS, watcher)
    running = asyncio.ensure_future(slot.run())
    await asyncio.sleep(1.0)
    slot.stop()
    async with asyncio.timeout(10):
        await running
    # At once, then after 0.2, 0.4 and 0.8 seconds: never more than four in a second.
    assert 1 <= len(watcher.restarts) <= 4
    assert watcher.restarts == list(range(len(watcher.restarts)))
    numbers = [number for what, number in watcher.seen if what == "born"]
    assert len(set(numbers)) == len(numbers)
    for number in numbers:
        assert [what for what, n in watcher.seen if n == number] == ["born", "gone", "ended"]


async def test_stop_in_a_pause_ends_at_once() -> None:
    watcher = Watcher()
    slot = slot_of(ENDS, watcher)
    running = asyncio.ensure_future(slot.run())
    await eventually_async(lambda: slot.restarts >= 2)
    slot.stop()
    async with asyncio.timeout(10):
        await running


async def test_kill() -> None:
    watcher = Watcher()
    slot = slot_of(STAYS, watcher)
    running = asyncio.ensure_future(slot.run())
    await eventually_async(lambda: slot.life is not None)
    slot.stop()
    slot.kill()
    async with asyncio.timeout(10):
        await running
    assert [what for what, _ in watcher.seen] == ["born", "gone", "ended"]


async def test_a_program_that_does_not_exist_is_tried_again() -> None:
    watcher = Watcher()
    slot = slot_of(("/no/such/program",), watcher)
    running = asyncio.ensure_future(slot.run())
    await eventually_async(lambda: slot.restarts >= 2)
    slot.stop()
    async with asyncio.timeout(10):
        await running
    assert watcher.seen == []
