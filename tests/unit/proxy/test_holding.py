"""Held sessions wake in their order, a few at a time; those held too long are refused."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from shardrouter.errors import ShardRouterError, SlotsHeld
from shardrouter.proxy.relay.holding import WOKEN_AT_ONCE, Holding
from shardrouter.topology import Motion, ShardId, Slot, SlotsInMotion, Topology
from tests.support.topologies import small_topology

SLOT, OTHER = Slot(0), Slot(2)
MOVING = SlotsInMotion(3, (SLOT,), ShardId("s0"), ShardId("s1"), Motion.PAUSED)
BEFORE = small_topology()
PAUSED = BEFORE.with_motion(MOVING)
AFTER = PAUSED.without_motion(3)
HOLD_SECONDS = 5.0


class Client:
    """A session that waits; notes what becomes of it."""

    def __init__(self, holding: Holding, woken: list["Client"], slot: int = SLOT) -> None:
        self.choice = SimpleNamespace(
            shard=None, slot=slot, is_any_shard_right=False, least_epoch=0
        )
        self.relay = SimpleNamespace(backend=None, is_waiting=True)
        self.is_over = False
        self.refusal: ShardRouterError | None = None
        self.attachment = SimpleNamespace(choose_again=lambda: woken.append(self), fail=self._fail)
        self._holding = holding

    def _fail(self, error: ShardRouterError) -> None:
        self.refusal = error
        self._holding.let_go(cast("Any", self))


class Plane:
    """What a worker has beside its held sessions: nothing."""

    def __init__(self) -> None:
        self.settings = SimpleNamespace(rebalance=SimpleNamespace(hold_seconds=HOLD_SECONDS))
        self.fleet = SimpleNamespace(standing=SimpleNamespace(clock=lambda: 0.0, deadline=1.0))

    def pools(self) -> list[Any]:
        return []

    def backends(self) -> list[Any]:
        return []


@pytest.fixture
def holding() -> Holding:
    return Holding(cast("Any", Plane()))


def hold(holding: Holding, count: int, slot: int = SLOT) -> tuple[list[Client], list[Client]]:
    woken: list[Client] = []
    clients = [Client(holding, woken, slot) for _ in range(count)]
    for client in clients:
        holding.hold(cast("Any", client))
    return clients, woken


async def test_they_wake_in_their_order_and_let_others_in_between(holding: Holding) -> None:
    holding.follow(PAUSED)
    clients, woken = hold(holding, WOKEN_AT_ONCE + 1)
    holding.follow(AFTER)
    assert woken == []  # not in the midst of what brought the topology
    await asyncio.sleep(0)
    assert len(woken) == WOKEN_AT_ONCE
    await asyncio.sleep(0)
    assert woken == clients
    assert len(holding) == 0
    assert sum(holding.seconds["buckets"]) == len(clients)


async def test_only_those_wake_that_may_go_on(holding: Holding) -> None:
    holding.follow(PAUSED)
    clients, woken = hold(holding, 2)
    clients[1].choice.least_epoch = AFTER.epoch + 1
    also_paused = SlotsInMotion(4, (OTHER,), ShardId("s0"), ShardId("s1"), Motion.PAUSED)
    still: Topology = AFTER.with_motion(also_paused)
    holding.follow(PAUSED.next())
    await asyncio.sleep(0)
    assert woken == []
    holding.follow(still)
    await asyncio.sleep(0)
    assert woken == clients  # its epoch is there, and its slot is not paused


async def test_who_is_gone_is_not_woken(holding: Holding) -> None:
    holding.follow(PAUSED)
    clients, woken = hold(holding, 3)
    holding.let_go(cast("Any", clients[0]))
    holding.follow(AFTER)
    holding.let_go(cast("Any", clients[1]))
    clients[2].is_over = True
    await asyncio.sleep(0)
    assert woken == []
    assert len(holding) == 0


def test_who_is_held_too_long_is_refused(holding: Holding) -> None:
    holding.follow(PAUSED)
    clients, _ = hold(holding, 2)
    began = holding.since(cast("Any", clients[1]))
    assert began is not None
    holding.sweep(began + HOLD_SECONDS - 1)
    assert len(holding) == 2
    clients[0].choice.least_epoch = 99
    holding.sweep(began + HOLD_SECONDS)
    assert len(holding) == 0
    refusal = clients[1].refusal
    assert isinstance(refusal, SlotsHeld)
    assert "move 3" in refusal.message
    assert (refusal.shard, refusal.epoch) == ("s0", PAUSED.epoch)
    assert clients[0].choice.least_epoch == 0


async def test_to_be_held_again_keeps_ones_time(holding: Holding) -> None:
    holding.follow(PAUSED)
    [client], _ = hold(holding, 1)
    began = holding.since(cast("Any", client))
    holding.hold(cast("Any", client))
    assert holding.since(cast("Any", client)) == began
    assert holding.sessions() == [client]
