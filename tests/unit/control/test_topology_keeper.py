"""The keeper's lease and epochs, against a catalog in memory and a clock that is set by hand."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from shardrouter.catalog import Fleet, Registration
from shardrouter.config import CatalogSettings
from shardrouter.control import Drain, TopologyKeeper, spawn
from shardrouter.errors import (
    CatalogUnavailable,
    LeaseExpired,
    SettingsError,
    TopologyError,
    UnknownShard,
)
from shardrouter.topology import (
    Epoch,
    Motion,
    Node,
    NodeId,
    Role,
    Shard,
    ShardId,
    Slot,
    SlotsInMotion,
    Topology,
)
from tests.support.eventually import eventually_async

ID = UUID(int=7)
SETTINGS = CatalogSettings(listen=False, poll_seconds=0.05, lease_seconds=15)


def topology(epoch: int) -> Topology:
    node = Node(NodeId("s0-p"), Role.PRIMARY, "host=x")
    return Topology(Epoch(epoch), (Shard(ShardId("s0"), (node,)),), (ShardId("s0"),) * 16)


def moving(epoch: int) -> Topology:
    """A topology in which a slot is paused."""
    here = topology(epoch)
    node = Node(NodeId("s1-p"), Role.PRIMARY, "host=y")
    paused = SlotsInMotion(7, (Slot(3),), ShardId("s0"), ShardId("s1"), Motion.PAUSED)
    return replace(here, shards=(*here.shards, Shard(ShardId("s1"), (node,))), motions=(paused,))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class MemoryStore:
    """What the keeper needs of CatalogStore. ``before_answer`` runs within each call."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.newest: Topology | None = topology(1)
        self.is_down = False
        self.acknowledged: list[int] = []
        self.drained: list[tuple[int, int, int]] = []
        self.signed_off: list[UUID] = []
        self.before_answer: Callable[[str], object] = lambda _: None
        self.held_up = threading.Event()

    def _answer(self, call: str) -> None:
        self.before_answer(call)
        if self.is_down:
            raise CatalogUnavailable("the catalog does not answer: down")

    def check(self) -> None:
        self._answer("check")

    def fleet(self) -> Fleet:
        self._answer("fleet")
        return Fleet(UUID(int=1), 16, self._epoch(), datetime.now(UTC))

    def look(self, served: Epoch) -> tuple[Epoch, Topology | None]:
        self._answer("look")
        return self._epoch(), None if self._epoch() == served else self.newest

    def load(self) -> Topology:
        self._answer("load")
        if self.newest is None:
            raise UnknownShard("the fleet has no shards yet")
        return self.newest

    def heartbeat(
        self,
        me: Registration,
        epoch: Epoch,
        lease_seconds: float,
        drained_epoch: Epoch,
        writers_drained_epoch: Epoch,
    ) -> Epoch:
        self._answer("heartbeat")
        assert (me.id, lease_seconds) == (ID, 15)
        self.acknowledged.append(epoch)
        self.drained.append((epoch, drained_epoch, writers_drained_epoch))
        return self._epoch()

    def sign_off(self, router: UUID) -> None:
        self.signed_off.append(router)

    def _epoch(self) -> Epoch:
        return Epoch(0) if self.newest is None else self.newest.epoch


Parts = tuple[TopologyKeeper, MemoryStore, Clock]


@pytest.fixture
def parts() -> Parts:
    clock = Clock()
    store = MemoryStore(clock)
    keeper = TopologyKeeper(store, SETTINGS, clock=clock, new_id=lambda: ID)  # type: ignore[arg-type]
    return keeper, store, clock


@asynccontextmanager
async def running(keeper: TopologyKeeper) -> AsyncIterator[None]:
    await keeper.start()
    task = spawn(keeper.run(), name="keeper")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def refreshed(keeper: TopologyKeeper) -> Awaitable[Any]:
    return asyncio.to_thread(keeper.refresh, 5.0)


def test_before_start_there_is_nothing_to_trust(parts: Parts) -> None:
    with pytest.raises(LeaseExpired, match="not started"):
        parts[0].current()
    parts[0].request_refresh()
    with pytest.raises(LeaseExpired):
        parts[0].refresh(1.0)


async def test_start_serves_and_acknowledges(parts: Parts) -> None:
    keeper, store, _ = parts
    assert (await keeper.start()).epoch == 1
    assert keeper.current() == topology(1)
    assert store.acknowledged == [1]


@pytest.mark.parametrize("kind", [CatalogUnavailable, SettingsError])
async def test_start_raises_what_the_catalog_raises(
    parts: Parts, kind: type[TopologyError]
) -> None:
    keeper, store, _ = parts

    def fail(call: str) -> None:
        raise kind("no")

    store.before_answer = fail
    with pytest.raises(kind):
        await keeper.start()
    with pytest.raises(LeaseExpired):
        keeper.current()


async def test_start_on_an_empty_fleet(parts: Parts) -> None:
    keeper, store, _ = parts
    store.newest = None
    with pytest.raises(UnknownShard):
        await keeper.start()


async def test_a_publish_between_load_and_heartbeat_is_taken_before_serving(parts: Parts) -> None:
    keeper, store, _ = parts

    def publish(call: str) -> None:
        if call == "heartbeat" and not store.acknowledged:
            store.newest = topology(2)

    store.before_answer = publish
    assert (await keeper.start()).epoch == 2
    assert store.acknowledged == [1, 2]


async def test_lease_counts_from_before_the_heartbeat_was_sent(parts: Parts) -> None:
    keeper, store, clock = parts

    def be_slow(call: str) -> None:
        if call == "heartbeat":
            clock.now += 10

    store.before_answer = be_slow
    await keeper.start()
    clock.now = 1014.9
    keeper.current()
    clock.now = 1015.0
    with pytest.raises(LeaseExpired) as caught:
        keeper.current()
    assert caught.value.epoch == 1
    assert "did not run for that long" in str(caught.value)


async def test_frozen_process_is_expired_at_once_and_recovers(parts: Parts) -> None:
    keeper, _, clock = parts
    async with running(keeper):
        clock.now += 3600
        with pytest.raises(LeaseExpired):
            keeper.current()
        assert (await refreshed(keeper)).epoch == 1


async def test_heartbeat_every_third_of_the_lease(parts: Parts) -> None:
    keeper, store, clock = parts
    async with running(keeper):
        await refreshed(keeper)
        assert len(store.acknowledged) == 1
        clock.now += 4.9
        await refreshed(keeper)
        assert len(store.acknowledged) == 1
        clock.now += 0.2
        await refreshed(keeper)
        assert len(store.acknowledged) == 2


async def test_catalog_down_serves_until_the_lease_ends_then_says_why(
    parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    keeper, store, clock = parts
    async with running(keeper):
        store.is_down = True
        await refreshed(keeper)
        clock.now += 14
        assert (await refreshed(keeper)).epoch == 1
        clock.now += 1
        with pytest.raises(LeaseExpired, match="does not answer: down"):
            keeper.current()
        await eventually_async(lambda: caplog.text.count("catalog_trouble") == 1)
        store.is_down = False
        store.newest = topology(2)
        assert (await refreshed(keeper)).epoch == 2


async def test_after_an_outage_the_old_epoch_is_not_served_again(parts: Parts) -> None:
    """The row of this router may have been pruned, and others have gone on without it."""
    keeper, store, clock = parts
    async with running(keeper):
        clock.now += 3600
        store.newest = topology(2)

        def fail_to_load(call: str) -> None:
            if call == "look":
                raise CatalogUnavailable("not now")

        store.before_answer = fail_to_load
        with pytest.raises(LeaseExpired):
            await refreshed(keeper)
        assert store.acknowledged[-1] == 1
        store.before_answer = lambda _: None
        assert (await refreshed(keeper)).epoch == 2


async def test_a_restored_older_catalog_is_refused_loudly(
    parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    keeper, store, clock = parts
    store.newest = topology(7)
    async with running(keeper):
        store.newest = topology(5)
        assert (await refreshed(keeper)).epoch == 7
        clock.now += 15
        with pytest.raises(LeaseExpired, match="at epoch 5 although 7 was published"):
            await refreshed(keeper)
        assert "ERROR" in caplog.text
        assert 5 not in store.acknowledged
        store.newest = topology(8)
        assert (await refreshed(keeper)).epoch == 8


async def test_changes_are_told_after_the_swap_and_a_bad_watcher_hurts_nobody(
    parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    keeper, store, _ = parts
    seen: list[tuple[int, int]] = []

    def bad(_: Topology) -> None:
        raise ValueError("boom")

    keeper.on_change(bad)
    keeper.on_change(lambda new: seen.append((new.epoch, keeper.current().epoch)))
    async with running(keeper):
        store.newest = topology(2)
        await refreshed(keeper)
    assert seen[-1] == (2, 2)
    assert "callback_failed" in caplog.text


async def test_polling_alone_finds_a_publish(parts: Parts) -> None:
    keeper, store, _ = parts
    async with running(keeper):
        store.newest = replace(topology(2))
        await eventually_async(lambda: keeper.current().epoch == 2, 5)


async def test_refresh_waits_no_longer_than_asked(parts: Parts) -> None:
    keeper, store, _ = parts
    async with running(keeper):
        store.before_answer = lambda _: store.held_up.wait(10)
        assert (await asyncio.to_thread(keeper.refresh, 0.01)).epoch == 1
        store.held_up.set()


async def test_cancelled_keeper_signs_off_and_serves_no_more(parts: Parts) -> None:
    keeper, store, _ = parts
    async with running(keeper):
        await refreshed(keeper)
    assert store.signed_off == [ID]
    with pytest.raises(LeaseExpired, match="closed"):
        keeper.current()


# What is drained


async def test_without_a_check_or_without_motions_all_is_drained(parts: Parts) -> None:
    keeper, store, _ = parts
    async with running(keeper):
        store.newest = moving(2)
        await refreshed(keeper)
        assert store.drained == [(1, 1, 1), (2, 2, 2)]
        keeper.watch_drain(lambda _: Drain(readers=False, writers=False))
        store.newest = topology(3)
        await refreshed(keeper)
        assert store.drained[-1] == (3, 3, 3)


async def test_a_topology_is_told_at_once_and_what_is_drained_as_soon_as_it_is(
    parts: Parts,
) -> None:
    keeper, store, _ = parts
    found = Drain(readers=False, writers=False)
    asked: list[tuple[int, int]] = []

    def check(served: Topology) -> Drain:
        asked.append((served.epoch, keeper.current().epoch))
        return found

    keeper.watch_drain(check)
    async with running(keeper):
        store.newest = moving(2)
        await refreshed(keeper)
        assert store.drained == [(1, 1, 1), (2, 1, 1)]
        found = Drain(readers=False, writers=True)
        await eventually_async(lambda: store.drained[-1] == (2, 1, 2))
        found = Drain(readers=True, writers=False)  # a later unit: the epoch was drained before
        await eventually_async(lambda: store.drained[-1] == (2, 2, 2))
        count = len(asked)
        await refreshed(keeper)
        assert len(asked) == count
    assert set(asked) == {(2, 2)}
    assert len(store.drained) == 4


async def test_what_is_not_drained_is_not_told_again_and_again(parts: Parts) -> None:
    keeper, store, _ = parts
    asked: list[int] = []

    def check(served: Topology) -> Drain:
        asked.append(served.epoch)
        return Drain(readers=True, writers=False)

    keeper.watch_drain(check)
    async with running(keeper):
        store.newest = moving(2)
        await eventually_async(lambda: len(asked) > 5)
        assert store.drained == [(1, 1, 1), (2, 2, 1)]
        store.newest = moving(3)
        await refreshed(keeper)
        assert store.drained[2:] == [(3, 3, 1)]


async def test_a_check_that_fails_says_not_drained_and_hurts_nobody(
    parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    keeper, store, _ = parts

    def check(_: Topology) -> Drain:
        raise ValueError("boom")

    keeper.watch_drain(check)
    async with running(keeper):
        store.newest = moving(2)
        assert (await refreshed(keeper)).epoch == 2
        assert store.drained[-1] == (2, 1, 1)
        assert "callback_failed name=drain check" in caplog.text
        keeper.watch_drain(lambda _: Drain(readers=True, writers=True))
        await eventually_async(lambda: store.drained[-1] == (2, 2, 2))


async def test_what_the_catalog_did_not_hear_is_told_when_it_answers(parts: Parts) -> None:
    keeper, store, _ = parts
    async with running(keeper):

        def fail(call: str) -> None:
            if call == "heartbeat":
                raise CatalogUnavailable("not now")

        store.newest = moving(2)
        store.before_answer = fail
        assert (await refreshed(keeper)).epoch == 2
        assert store.drained == [(1, 1, 1)]
        store.before_answer = lambda _: None
        await eventually_async(lambda: store.drained == [(1, 1, 1), (2, 2, 2)])
