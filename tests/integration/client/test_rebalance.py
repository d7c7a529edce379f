"""``router.rebalance``: the same from Python, for both routers."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from shardrouter import AsyncRouter, Router
from shardrouter.catalog import Move
from shardrouter.rebalance import Batch, Wanted
from shardrouter.topology import MoveState, ShardId, Slot
from tests.support.cluster import Cluster
from tests.support.eventually import eventually
from tests.support.moving_bed import drop_subscriptions
from tests.support.orders import Base, User, keys_on

S0, S1 = ShardId("s0"), ShardId("s1")


@pytest.fixture
def filled(cluster: Cluster) -> Iterator[Router]:
    """A router on two shards that hold a few users each."""
    with Router.from_config(cluster.settings_path) as opened:
        opened.create_all(Base)
        for shard in ("s0", "s1"):
            for key in keys_on(opened, shard, 3):
                with opened.session(key=key) as session:
                    session.add(User(id=key, name="somebody"))
                    session.commit()
        yield opened
    for server in cluster.primaries():
        with cluster.connect(server.id) as connection:
            drop_subscriptions(connection)


def batch_of(router: Router | AsyncRouter, key: int) -> Batch:
    source = router.shard_of(key).id
    return Batch(source, S1 if source == S0 else S0, (router.slot_of(key),))


def test_a_move_there_and_back(filled: Router) -> None:
    [key] = keys_on(filled, "s0", 1)
    rebalance = filled.rebalance
    assert rebalance.plan().moves == ()
    plan = rebalance.plan_by_hand(batch_of(filled, key))
    assert (plan.slots, plan.rows) == (1, 1)
    seen: list[MoveState] = []
    [move] = rebalance.apply(
        plan, wait=False, soak_seconds=600, on_progress=lambda move, _: seen.append(move.state)
    )
    assert move.state is MoveState.SOAKING
    assert MoveState.COPYING in seen
    assert filled.shard_of(key).id == "s1"  # known at once, without waiting for news
    assert rebalance.verify(move.number).rows == {"public.orders": 0, "public.users": 1}
    [status] = rebalance.status()
    assert (status.number, status.state, status.is_attended) == (move.number, "soaking", False)
    rebalance.reverse(move.number)
    [move] = rebalance.run([move.number])
    assert move.state is MoveState.REVERSED
    assert filled.shard_of(key).id == "s0"
    assert "move_reversed" in [event.kind for event in rebalance.history(move.number)]
    with filled.session(key=key) as session:
        assert session.get_one(User, key).name == "somebody"


async def test_the_same_from_asyncio(cluster: Cluster, filled: Router) -> None:
    [key] = keys_on(filled, "s0", 1)
    async with AsyncRouter.from_config(cluster.settings_path) as router:
        rebalance = router.rebalance
        held = Wanted(excluded_slots=frozenset(Slot(n) for n in range(10)))
        assert (await rebalance.plan(held)).moves == ()
        plan = await rebalance.plan_by_hand(batch_of(router, key))
        soaks, loop = asyncio.Event(), asyncio.get_running_loop()
        numbers: list[int] = []

        def show(move: Move, progress: Mapping[str, Any]) -> None:
            if move.state is MoveState.SOAKING:
                numbers.append(move.number)
                loop.call_soon_threadsafe(soaks.set)

        running = asyncio.ensure_future(rebalance.apply(plan, soak_seconds=600, on_progress=show))
        await soaks.wait()
        number = numbers[0]
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        status = await rebalance.move(number)
        assert (status.state, status.is_attended) == (MoveState.SOAKING, False)
        await rebalance.finish(number)
        [move] = await rebalance.run([number])
        assert move.state is MoveState.DONE
        assert router.shard_of(key).id == "s1"
    eventually(lambda: filled.shard_of(key).id == "s1")
