"""Slots are paused, moved or given back while sessions, connections and tasks are at work."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import insert, select, text

from shardrouter import AsyncRouter, Router
from shardrouter.control.tasks import spawn
from shardrouter.errors import SlotsHeld
from shardrouter.topology import Motion
from tests.support.cluster import Cluster
from tests.support.eventually import eventually, eventually_async
from tests.support.motions import Motions, motions_of
from tests.support.orders import Order, User, keys_on


@pytest.fixture
def keys(router: Router) -> tuple[int, int, int]:
    """A key of the slot that moves from s0 to s1, another one of s0, one of s1."""
    moving, staying = keys_on(router, "s0", 2)
    (other,) = keys_on(router, "s1", 1)
    return moving, staying, other


@pytest.fixture
def motions(router: Router, cluster: Cluster, keys: tuple[int, int, int]) -> Iterator[Motions]:
    with motions_of(cluster, router.slot_of(keys[0])) as found:
        yield found


class Worker:
    """A call in a thread, and what came of it."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.result: Any = None
        self._call = call
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result = self._call()
        except Exception as error:
            self.result = error

    def join(self) -> Any:
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.result


def waiting(router: Router | AsyncRouter) -> int:
    return len(router._core.in_flight._waiting)


def add_user(router: Router, key: int, **how: Any) -> None:
    with router.session(key, **how) as session:
        session.add(User(id=key, name="held"))
        session.commit()


def stored(
    cluster: Cluster, query: str = "SELECT id FROM users ORDER BY 1"
) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for shard in ("s0", "s1"):
        with cluster.connect(f"{shard}-p") as connection:
            found[shard] = [value for (value,) in connection.execute(query.encode()).fetchall()]
    return found


# Holding


@pytest.mark.parametrize(
    ("then", "owner", "shard"), [(Motion.MOVED, "s1", "s1"), (Motion.COPYING, "s0", "s0")]
)
def test_a_held_session_goes_on_where_the_slot_is_then(
    router: Router, cluster: Cluster, motions: Motions, keys: tuple[int, int, int],
    then: Motion, owner: str, shard: str,
) -> None:  # fmt: skip
    moving, staying, other = keys
    motions.publish_and_wait(Motion.PAUSED)
    worker = Worker(lambda: add_user(router, moving))
    eventually(lambda: waiting(router) == 1)
    add_user(router, staying)
    add_user(router, other)
    if then is Motion.MOVED:
        motions.publish_and_wait(Motion.PAUSED, "s1")  # the commit: they wait on
        eventually(lambda: waiting(router) == 1)
    found = stored(cluster)
    assert moving not in found["s0"] + found["s1"]
    motions.publish(then, owner)
    assert worker.join() is None
    assert moving in stored(cluster)[shard]


def test_sessions_made_before_the_pause_wait_and_locate_anew(
    router: Router, cluster: Cluster, motions: Motions, keys: tuple[int, int, int]
) -> None:
    with router.session(keys[0]) as session:
        session.add(User(id=keys[0], name="before"))
        session.commit()
        motions.publish_and_wait(Motion.PAUSED)

        def next_transaction() -> None:
            session.add(Order(id=1, user_id=keys[0]))
            session.commit()

        with cluster.connect("s1-p") as target:
            target.execute("INSERT INTO users VALUES (%s, 'moved')", [keys[0]])
        worker = Worker(next_transaction)
        eventually(lambda: waiting(router) == 1)
        motions.publish(Motion.MOVED, "s1")
        assert worker.join() is None
    assert stored(cluster, "SELECT user_id FROM orders") == {"s0": [], "s1": [keys[0]]}


def test_an_open_transaction_goes_on_and_is_told_until_it_is_over(
    router: Router, cluster: Cluster, motions: Motions, keys: tuple[int, int, int]
) -> None:
    with router.session(keys[0]) as session, router.session(keys[1]) as staying:
        session.add(User(id=keys[0], name="open"))
        session.flush()
        staying.execute(select(User))
        paused = motions.publish_and_wait(Motion.PAUSED)
        (live,) = motions.live()
        assert live.writers_drained_epoch < paused.epoch
        session.add(Order(id=1, user_id=keys[0]))
        session.commit()
        eventually(lambda: motions.live()[0].writers_drained_epoch >= paused.epoch)
    eventually(lambda: motions.live()[0].drained_epoch >= paused.epoch)
    assert stored(cluster, "SELECT user_id FROM orders") == {"s0": [keys[0]], "s1": []}


def test_a_long_pause_is_an_error_with_a_name(
    cluster: Cluster, motions: Motions, keys: tuple[int, int, int]
) -> None:
    settings = cluster.settings_path
    settings.write_text(settings.read_text() + "[rebalance]\nhold_seconds = 0.05\n")
    motions.publish(Motion.PAUSED)
    with Router.from_config(settings) as hasty, hasty.session(keys[0]) as session:
        with pytest.raises(SlotsHeld, match=f"slot {motions.slots[0]} .*move 7"):
            session.execute(select(User))
        motions.publish(Motion.COPYING)
        eventually(lambda: not hasty.topology.paused_slots)
        assert session.scalars(select(User)).all() == []


def test_connections_and_ids_are_held_too(
    router: Router, cluster: Cluster, motions: Motions, keys: tuple[int, int, int]
) -> None:
    made = router.new_id(keys[0])
    motions.publish_and_wait(Motion.PAUSED)

    def plain() -> str:
        with router.connection(keys[0]) as connection:
            return connection.info.dbname + str(connection.info.port)

    def by_id() -> str:
        with router.session(id=made) as session:
            return str(session.scalar(text("SELECT current_database() || inet_server_port()")))

    workers = [Worker(plain), Worker(by_id)]
    eventually(lambda: waiting(router) == 2)
    motions.publish(Motion.MOVED, "s1")
    target = cluster.fleet.node("s1-p")
    assert [w.join() for w in workers] == [f"{cluster.database}{target.port}"] * 2


def test_many_threads_are_held_and_lose_nothing(
    router: Router, cluster: Cluster, motions: Motions, keys: tuple[int, int, int]
) -> None:
    with cluster.connect("s1-p") as target, cluster.connect("s0-p") as source:
        for connection in (target, source):
            connection.execute("INSERT INTO users VALUES (%s, 'there')", [keys[0]])
    motions.publish_and_wait(Motion.PAUSED)

    def work(number: int) -> None:
        with router.session(keys[0]) as session:
            session.execute(insert(Order).values(id=number, user_id=keys[0]))
            session.commit()

    workers = [Worker(lambda n=number: work(n)) for number in range(40)]  # type: ignore[misc]
    eventually(lambda: waiting(router) == 40)
    motions.publish(Motion.PAUSED, "s1")
    motions.publish(Motion.MOVED, "s1")
    assert [worker.join() for worker in workers] == [None] * 40
    found = stored(cluster, "SELECT id FROM orders ORDER BY id")
    assert found == {"s0": [], "s1": list(range(40))}


def test_sessions_on_a_whole_shard_wait_where_the_slots_are(
    router: Router, motions: Motions
) -> None:
    def touch(shard: str) -> str:
        with router.session(shard=shard) as session:
            session.execute(text("SELECT 1"))
            return shard

    motions.publish_and_wait(Motion.PAUSED)
    worker = Worker(lambda: touch("s0"))
    everywhere = Worker(lambda: router.map(lambda s: s.scalar(text("SELECT 1"))).values)
    eventually(lambda: waiting(router) == 2)
    assert touch("s1") == "s1"
    with router.session(shard="s0", read="primary") as reading:
        assert reading.scalar(text("SELECT 1")) == 1
    motions.publish(Motion.PAUSED, "s1")
    assert worker.join() == "s0", "the slots are not here any more"
    target = Worker(lambda: touch("s1"))
    eventually(lambda: waiting(router) == 2)
    motions.publish(Motion.MOVED, "s1")
    assert target.join() == "s1"
    assert everywhere.join() == {"s0": 1, "s1": 1}


def test_closing_the_router_ends_the_wait(
    cluster: Cluster, motions: Motions, keys: tuple[int, int, int]
) -> None:
    with Router.from_config(cluster.settings_path) as closed:
        motions.publish_and_wait(Motion.PAUSED)
        worker = Worker(lambda: add_user(closed, keys[0]))
        eventually(lambda: waiting(closed) == 1)
    assert type(worker.join()).__name__ == "RouterClosed"


# Asyncio


async def test_tasks_are_held_while_others_go_on(
    router: Router, cluster: Cluster, motions: Motions, keys: tuple[int, int, int]
) -> None:
    async with AsyncRouter.from_config(cluster.settings_path) as arouter:
        motions.publish(Motion.PAUSED)
        await eventually_async(lambda: arouter.topology.paused_slots)

        async def in_session() -> None:
            async with arouter.session(keys[0]) as session:
                session.add(User(id=keys[0], name="held"))
                await session.commit()

        async def in_connection() -> int:
            async with arouter.connection(keys[0]) as connection:
                return connection.info.port

        async def in_transaction() -> int:
            async with arouter.transaction([keys[0], keys[2]]) as tx:
                port = await tx[keys[2]].scalar(text("SELECT inet_server_port()"))
                return int(port or 0)

        calls = (in_session, in_connection, in_transaction)
        tasks: list[asyncio.Task[int | None]] = [spawn(c(), name="held") for c in calls]
        await eventually_async(lambda: waiting(arouter) == 3)
        async with arouter.session(keys[1]) as session:
            session.add(User(id=keys[1], name="not held"))
            await session.commit()
        given_up = spawn(in_session(), name="given up")
        await eventually_async(lambda: waiting(arouter) == 4)
        given_up.cancel()
        await eventually_async(lambda: waiting(arouter) == 3)
        motions.publish(Motion.MOVED, "s1")
        port = cluster.fleet.node("s1-p").port
        assert await asyncio.gather(*tasks) == [None, port, port]
    assert stored(cluster) == {"s0": [keys[1]], "s1": [keys[0]]}


# Transactions over shards


def test_a_transaction_waits_with_its_first_statement_and_not_in_between(
    router: Router, cluster: Cluster, motions: Motions, keys: tuple[int, int, int]
) -> None:
    moving, staying, other = keys

    def both(first: int, second: int) -> None:
        with router.transaction([first, second]) as tx:
            for key in (first, second):
                tx[key].add(User(id=key, name="both"))
                tx[key].flush()

    motions.publish_and_wait(Motion.PAUSED)
    touched: list[str] = []
    with router.watch_checkouts(lambda shard, node: touched.append(shard)):
        worker = Worker(lambda: both(other, moving))
        eventually(lambda: waiting(router) == 1)
        assert touched == [], "a branch was open while another one waited"
        motions.publish(Motion.MOVED, "s1")
        assert worker.join() is None
    both(staying, keys_on(router, "s1", 3)[2])
    assert set(stored(cluster)["s1"]) > {moving, other}


def test_an_open_transaction_is_told_for_all_its_keys(
    router: Router, cluster: Cluster, motions: Motions, keys: tuple[int, int, int]
) -> None:
    moving, _, other = keys
    with router.transaction([other, moving]) as tx:
        tx[other].add(User(id=other, name="first"))
        tx[other].flush()  # nothing was done on the moving slot yet
        paused = motions.publish_and_wait(Motion.PAUSED)
        assert motions.live()[0].writers_drained_epoch < paused.epoch
        tx[moving].add(User(id=moving, name="second"))
        tx[moving].flush()
    eventually(lambda: motions.live()[0].writers_drained_epoch >= paused.epoch)
    assert stored(cluster) == {"s0": [moving], "s1": [other]}


def test_a_transaction_made_earlier_goes_where_its_keys_are_when_it_begins(
    router: Router, cluster: Cluster, motions: Motions, keys: tuple[int, int, int]
) -> None:
    with router.transaction([keys[0]]) as tx:
        session = tx[keys[0]]
        motions.publish_and_wait(Motion.MOVED, "s1")
        eventually(lambda: router.topology.moving_slots)
        session.add(User(id=keys[0], name="late"))
    assert stored(cluster) == {"s0": [], "s1": [keys[0]]}


def test_writes_to_all_shards_wait_for_any_pause(
    router: Router, motions: Motions, cluster: Cluster
) -> None:
    def write() -> None:
        with router.transaction(reference=True) as tx:
            tx.reference.execute(text("INSERT INTO countries VALUES ('xx', 'x')"))

    motions.publish_and_wait(Motion.PAUSED)
    worker = Worker(write)
    eventually(lambda: waiting(router) == 1)
    motions.publish(Motion.COPYING)
    assert worker.join() is None
    assert stored(cluster, "SELECT code FROM countries") == {"s0": ["xx"], "s1": ["xx"]}


# The move's other questions


def test_a_gather_is_told_until_it_is_over(
    router: Router, cluster: Cluster, motions: Motions
) -> None:
    with cluster.connect("s1-p") as blocker:
        blocker.execute("BEGIN; LOCK TABLE users")
        worker = Worker(lambda: router.gather(select(User.id)).all())
        with cluster.connect("s1-p") as admin:
            locks = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'users'::regclass"
            eventually(lambda: admin.execute(locks.encode()).fetchone() is not None)
        copying = motions.publish_and_wait(Motion.COPYING)
        assert motions.live()[0].drained_epoch < copying.epoch
        assert motions.live()[0].writers_drained_epoch >= copying.epoch
        blocker.execute("ROLLBACK")
    assert worker.join() == []
    eventually(lambda: motions.live()[0].drained_epoch >= copying.epoch)
