"""Waiting for the end of a pause, and telling what is still open, without a database."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from shardrouter.client.in_flight import InFlight
from shardrouter.client.runtime import GreenletRuntime, Runtime, ThreadRuntime, run_in_bridge
from shardrouter.client.stay import Stay
from shardrouter.errors import LeaseExpired, SlotsHeld
from shardrouter.topology import Motion, ShardId, Slot, SlotsInMotion, Topology
from tests.support.eventually import eventually
from tests.support.topologies import small_topology

S0, S1 = ShardId("s0"), ShardId("s1")
SLOT = Slot(4)
PLAIN = small_topology()
PAUSED = PLAIN.with_motion(SlotsInMotion(7, (SLOT,), S0, S1, Motion.PAUSED))
MOVED = PAUSED.with_motion(
    SlotsInMotion(7, (SLOT,), S0, S1, Motion.MOVED), owners=PAUSED.owners_with([SLOT], S1)
)


@dataclass
class Bed:
    """A router's topology that the test changes by hand."""

    topology: Topology = PLAIN
    runtime: Runtime = field(default_factory=lambda: ThreadRuntime(1))
    hold_seconds: float = 20.0
    error: Exception | None = None

    def __post_init__(self) -> None:
        self.in_flight = InFlight(self.current, self.runtime, self.hold_seconds)

    def current(self) -> Topology:
        if self.error is not None:
            raise self.error
        return self.topology

    def publish(self, topology: Topology) -> None:
        self.topology = topology
        self.in_flight.wake(topology)

    def waiting(self) -> int:
        return len(self.in_flight._waiting)


def writer() -> Stay:
    return Stay(slots=(SLOT,), shard=S0, writes=True, waits=True)


def test_what_is_open_is_told_until_it_is_over() -> None:
    bed = Bed()
    stay = writer()
    assert bed.in_flight.enter(stay) is PLAIN
    bed.publish(PAUSED)
    assert bed.in_flight.drain(PAUSED) == (False, False)
    bed.in_flight.leave(stay)
    bed.in_flight.leave(stay)
    assert bed.in_flight.drain(PAUSED) == (True, True)


def test_what_is_dropped_without_an_end_is_forgotten() -> None:
    bed = Bed()
    bed.in_flight.enter(writer())
    assert bed.in_flight.drain(PAUSED) == (True, True)


def test_who_reads_the_topology_now_is_open_already() -> None:
    """Race: the check must not miss work that has read the old topology and goes on by it."""
    bed = Bed()
    seen: list[tuple[bool, bool]] = []

    def current() -> Topology:
        seen.append(in_flight.drain(PAUSED))
        return PLAIN

    in_flight = InFlight(current, bed.runtime, 1.0)
    stay = writer()
    in_flight.enter(stay)
    assert seen == [(False, False)]


def test_a_failure_leaves_nothing_open() -> None:
    bed = Bed(error=LeaseExpired())
    stay = writer()
    with pytest.raises(LeaseExpired):
        bed.in_flight.enter(stay)
    assert bed.in_flight.drain(PAUSED) == (True, True)


def in_threads(many: int, call: Callable[[], None]) -> list[threading.Thread]:
    threads = [threading.Thread(target=call) for _ in range(many)]
    for thread in threads:
        thread.start()
    return threads


def test_many_threads_wait_and_go_on_with_the_topology_that_ends_the_pause() -> None:
    bed = Bed(PAUSED)
    got: list[Topology] = []
    stays: list[Stay] = []

    def work() -> None:
        stay = writer()
        stays.append(stay)
        got.append(bed.in_flight.enter(stay))

    threads = in_threads(50, work)
    eventually(lambda: bed.waiting() == 50)
    assert bed.in_flight.drain(PAUSED.next()) == (True, True), "who waits is not open"
    bed.publish(PAUSED.next())  # something else changed: they wait on
    eventually(lambda: bed.waiting() == 50)
    assert got == []
    bed.publish(MOVED)
    for thread in threads:
        thread.join(20)
    assert got == [MOVED] * 50
    assert bed.waiting() == 0
    assert not bed.in_flight.drain(MOVED.next()).readers, "now they are open"


def test_the_wait_ends_with_a_name_and_a_next_step() -> None:
    bed = Bed(PAUSED, hold_seconds=0.01)
    with pytest.raises(SlotsHeld, match=r"slot 4 were held back for 0.01 s: move 7.*s0 to s1") as e:
        bed.in_flight.enter(writer())
    assert e.value.retryable and e.value.shard == "s0" and e.value.epoch == PAUSED.epoch
    assert e.value.hint is not None and "move show 7" in e.value.hint
    assert bed.waiting() == 0


def test_who_waits_hears_of_a_lost_lease() -> None:
    bed = Bed(PAUSED)
    errors: list[Exception] = []

    def work() -> None:
        try:
            bed.in_flight.enter(writer())
        except LeaseExpired as error:
            errors.append(error)

    (thread,) = in_threads(1, work)
    eventually(lambda: bed.waiting() == 1)
    bed.error = LeaseExpired()
    bed.in_flight.wake()
    thread.join(20)
    assert len(errors) == 1


async def test_tasks_wait_without_holding_the_loop_up() -> None:
    bed = Bed(PAUSED, GreenletRuntime(4))

    async def work() -> Topology:
        return await run_in_bridge(bed.in_flight.enter, writer())

    def end_the_pause() -> None:
        eventually(lambda: bed.waiting() == 20)
        bed.publish(MOVED)

    (thread,) = in_threads(1, end_the_pause)
    assert await asyncio.gather(*(work() for _ in range(20))) == [MOVED] * 20
    thread.join(20)


async def test_a_cancelled_task_waits_no_more() -> None:
    bed = Bed(PAUSED, GreenletRuntime(4))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await run_in_bridge(bed.in_flight.enter, writer())
    assert bed.waiting() == 0
    bed.publish(MOVED)
