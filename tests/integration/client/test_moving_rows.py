"""Reads, gathers and maps while a shard holds rows that are not its own, beside real guards."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, aliased, joinedload, selectinload

from shardrouter import AsyncRouter, Router
from shardrouter.client import ShardSession
from shardrouter.errors import ReplicaTooStale, RoutingError, SlotNotOwned, WrongShardKey
from shardrouter.postgres import direct_connection, install_guards
from shardrouter.routing import Token
from shardrouter.topology import Motion, Position, ShardId, Topology, parse_lsn
from tests.support.cluster import Cluster
from tests.support.eventually import eventually
from tests.support.motions import Motions, motions_of
from tests.support.orders import Base, Country, Order, User, keys_on

MOVING_NAME = "on the way"


@pytest.fixture
def router(cluster: Cluster) -> Iterator[Router]:
    with Router.from_config(cluster.settings_path) as opened, opened.causal():
        opened.create_all(Base)
        yield opened


@pytest.fixture
def keys(router: Router) -> tuple[int, int, int]:
    """A key of the slot that moves from s0 to s1, another one of s0, one of s1; all filled."""
    moving, staying = keys_on(router, "s0", 2)
    (other,) = keys_on(router, "s1", 1)
    for key in (moving, staying, other):
        with router.session(key) as session:
            session.add(User(id=key, name=f"user {key}", orders=[Order(id=1), Order(id=2)]))
            session.commit()
    return moving, staying, other


@pytest.fixture
def motions(router: Router, cluster: Cluster, keys: tuple[int, int, int]) -> Iterator[Motions]:
    with motions_of(cluster, router.slot_of(keys[0])) as found:
        yield found


def serve(router: Router, motions: Motions, motion: Motion | None, owner: str = "s0") -> Topology:
    new = motions.publish(motion, owner)
    eventually(lambda: router.topology.epoch >= new.epoch)
    return new


def plant(cluster: Cluster, shard: str, key: int) -> None:
    """Put rows on a shard as an apply worker does: its guards do not see them."""
    with cluster.connect(f"{shard}-p") as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("INSERT INTO users VALUES (%s, %s)", [key, MOVING_NAME])
        connection.execute("INSERT INTO orders SELECT i, %s FROM generate_series(1, 3) i", [key])


def guard(router: Router, shard: str, topology: Topology) -> None:
    """Install the guards of a topology on a shard, as a mover does."""
    found = router.topology.shard(shard)
    with direct_connection(found, found.primary, 3.0, "tests") as connection:
        install_guards(connection, topology, ShardId(shard))


def lsn_of(cluster: Cluster, shard: str) -> int:
    with cluster.connect(f"{shard}-p") as connection:
        row = connection.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
    assert row is not None
    return parse_lsn(str(row[0]))


# Gathers


@pytest.mark.parametrize(
    ("motion", "owner", "stranger"),
    [
        (Motion.COPYING, "s0", "s1"),
        (Motion.PAUSED, "s0", "s1"),
        (Motion.PAUSED, "s1", "s0"),
        (Motion.MOVED, "s1", "s0"),
    ],
)
def test_a_gather_has_each_row_once(
    router: Router, cluster: Cluster, motions: Motions, keys: tuple[int, int, int],
    motion: Motion, owner: str, stranger: str,
) -> None:  # fmt: skip
    everybody = sorted(keys)
    serve(router, motions, Motion.COPYING)
    plant(cluster, "s1", keys[0])
    if owner == "s1":
        serve(router, motions, Motion.PAUSED, "s0")
    serve(router, motions, motion, owner)
    other = aliased(Order)
    assert list(router.gather(select(User.id).order_by(User.id)).scalars()) == everybody
    counts: Any = select(func.count(), func.max(Order.id)).select_from(Order)
    count = router.gather(counts).one()
    assert tuple(count) == (6 if owner == "s0" else 7, 2 if owner == "s0" else 3)
    pairs: Any = select(User.id, other.id).join(other, other.user_id == User.id, isouter=True)
    assert len(router.gather(pairs).all()) == count[0]
    names = router.gather(select(User).where(User.id == keys[0])).scalars().all()
    assert [user.name == MOVING_NAME for user in names] == [owner == "s1"]
    noted = select(User.id).order_by(User.name.desc()).execution_options(noted=True)
    assert sorted(router.gather(noted).scalars()) == everybody


async def test_an_async_gather_has_each_row_once(
    router: Router, cluster: Cluster, motions: Motions, keys: tuple[int, int, int]
) -> None:
    motions.publish(Motion.COPYING)
    plant(cluster, "s1", keys[0])
    async with AsyncRouter.from_config(cluster.settings_path) as arouter:
        found = await arouter.gather(select(User.id).order_by(User.id))
        assert list(found.scalars()) == sorted(keys)


# Whole shards


def test_mapped_classes_leave_foreign_rows_out_in_sessions_on_a_whole_shard(
    router: Router, cluster: Cluster, motions: Motions, keys: tuple[int, int, int]
) -> None:
    moving, _, other = keys
    serve(router, motions, Motion.COPYING)
    plant(cluster, "s1", moving)
    alias = aliased(Order)
    with router.session(shard="s1", read="primary") as session:
        users = session.scalars(select(User).options(selectinload(User.orders))).all()
        assert [(u.id, len(u.orders)) for u in users] == [(other, 2)]
        session.expunge_all()
        joined = session.scalars(select(User).options(joinedload(User.orders))).unique().all()
        assert [(u.id, len(u.orders)) for u in joined] == [(other, 2)]
        assert session.scalar(select(func.count()).select_from(Order)) == 2
        assert session.scalars(select(alias.user_id)).all() == [other, other]
        assert session.get(User, moving) is None
        in_orders = select(User.id).where(User.id.in_(select(Order.user_id)))
        assert session.scalars(in_orders).all() == [other]
        both = select(User.id).union_all(select(Order.user_id))
        assert session.scalars(both).all() == [other] * 3
        assert session.query(User).count() == 1
    with router.session(shard="s0", read="primary") as session:
        assert session.scalar(select(func.count()).select_from(Order)) == 4


def test_core_tables_take_a_condition(
    router: Router, cluster: Cluster, motions: Motions, keys: tuple[int, int, int]
) -> None:
    orders: Any = Order.__table__
    alias = orders.alias()
    serve(router, motions, Motion.COPYING)
    plant(cluster, "s1", keys[0])
    with router.session(shard="s1", read="primary") as session:
        for source in (orders, alias):
            count = select(func.count()).select_from(source)
            assert session.scalar(count) == 5, "nothing tells the session of what class it is"
            assert session.scalar(count.where(session.owned_rows(source))) == 2
        mine = aliased(Order)
        assert len(session.scalars(select(mine).where(session.owned_rows(mine))).all()) == 2
        with pytest.raises(RoutingError, match="not a sharded table"):
            session.owned_rows(Country)
    with router.session(shard="s0", read="primary") as session:
        condition = session.owned_rows(orders)
        assert session.scalar(select(func.count()).select_from(orders).where(condition)) == 4


def test_a_map_meets_each_row_once_and_changes_only_own_rows(
    router: Router, cluster: Cluster, motions: Motions, keys: tuple[int, int, int]
) -> None:
    serve(router, motions, Motion.COPYING)
    plant(cluster, "s1", keys[0])

    def count(session: Session) -> int:
        return session.scalar(select(func.count()).select_from(Order)) or 0

    def change(session: Session) -> int:
        changed: Any = session.execute(update(Order).values(note="changed"))
        return int(changed.rowcount)

    def drop(session: Session) -> int:
        dropped: Any = session.execute(delete(Order).where(Order.id == 2))
        return int(dropped.rowcount)

    assert router.map(count, read="primary").values == {"s0": 4, "s1": 2}
    assert router.map(change).values == {"s0": 4, "s1": 2}, "the guard would have refused"
    assert router.map(drop).values == {"s0": 2, "s1": 1}
    refused = router.map(lambda s: s.execute(text("UPDATE orders SET note = 'x'"))).failed
    assert [(o.shard, type(o.error)) for o in refused] == [("s1", SlotNotOwned)]


async def test_an_async_map_leaves_foreign_rows_out(
    router: Router, cluster: Cluster, motions: Motions, keys: tuple[int, int, int]
) -> None:
    motions.publish(Motion.COPYING)
    plant(cluster, "s1", keys[0])

    async def count(session: AsyncSession) -> tuple[int, int]:
        own = await session.run_sync(_owned_orders)
        every = await session.scalar(select(func.count()).select_from(Order))
        return own, every or 0

    async with AsyncRouter.from_config(cluster.settings_path) as arouter:
        report = await arouter.map(count, read="primary")
    assert report.values == {"s0": (4, 4), "s1": (2, 2)}


def _owned_orders(session: Session) -> int:
    assert isinstance(session, ShardSession)
    orders: Any = Order.__table__
    condition = session.owned_rows(orders)
    return session.scalar(select(func.count()).select_from(orders).where(condition)) or 0


# Reads of keys


def test_reads_go_on_at_the_owners_primary_while_writers_wait(
    router: Router, cluster: Cluster, motions: Motions, keys: tuple[int, int, int]
) -> None:
    plant(cluster, "s1", keys[0])
    touched: list[str] = []
    for owner in ("s0", "s1"):
        serve(router, motions, Motion.PAUSED, owner)
        touched.clear()
        with router.watch_checkouts(lambda shard, node: touched.append(node)):
            for read in ("primary", "replica"):
                with router.session(keys[0], read=read) as session:
                    user = session.get(User, keys[0])
                    assert user is not None and (user.name == MOVING_NAME) is (owner == "s1")
            router.gather(select(User.id), read="replica")
            with router.session(keys[1], read="replica") as session:
                session.scalars(select(User)).all()
        other = "s1" if owner == "s0" else "s0"
        assert touched[:2] == [f"{owner}-p"] * 2
        assert sorted(touched[2:4]) == sorted([f"{owner}-p", f"{other}-r1"])
        assert touched[4] == "s0-r1"


def test_replicas_answer_once_they_have_what_moved(
    router: Router, cluster: Cluster, motions: Motions, keys: tuple[int, int, int]
) -> None:
    def read(**how: Any) -> tuple[str, str | None]:
        touched: list[str] = []
        with router.watch_checkouts(lambda shard, node: touched.append(node)):
            with router.causal(), router.session(keys[0], read="replica", **how) as session:
                name = session.scalar(select(User.name).where(User.id == keys[0]))
        return touched[-1], name

    with cluster.replay_paused("s1-r1"):
        plant(cluster, "s1", keys[0])
        floor = (ShardId("s1"), Position(1, lsn_of(cluster, "s1")))
        new = motions.publish(Motion.MOVED, "s1", floors=(floor,))
        eventually(lambda: router.topology.epoch >= new.epoch)
        assert read() == ("s1-p", MOVING_NAME), "the replica does not have the row"
        with pytest.raises(ReplicaTooStale):
            read(fallback="error")
    cluster.wait_replayed("s1-r1")
    eventually(lambda: read() == ("s1-r1", MOVING_NAME))


def test_an_open_read_does_not_overlook_a_commit_on_the_new_owner(
    router: Router, cluster: Cluster, motions: Motions, keys: tuple[int, int, int]
) -> None:
    with router.session(keys[0], read="primary") as reading:
        assert reading.get(User, keys[0]) is not None
        plant(cluster, "s1", keys[0])
        guard(router, "s1", motions.publish(Motion.MOVED, "s1"))
        eventually(lambda: router.shard_of(keys[0]).id == "s1")
        with router.session(keys[0]) as session:
            session.add(Order(id=9, user_id=keys[0]))
            session.commit()
        with pytest.raises(ReplicaTooStale, match="has moved to another shard"):
            reading.scalars(select(Order)).all()
        reading.rollback()
        assert len(reading.scalars(select(Order).where(Order.user_id == keys[0])).all()) == 4


# A router that is late


@pytest.fixture
def late(cluster: Cluster, router: Router) -> Iterator[Router]:
    """A router that hears of a new topology only when it asks."""
    settings = cluster.settings_path.with_name("late.toml")
    settings.write_text(f'[catalog]\ndsn = "{cluster.catalog_dsn}"\nlisten = false\n'
                        "poll_seconds = 60\nlease_seconds = 600\n")  # fmt: skip
    with Router.from_config(settings) as opened, opened.causal():
        yield opened


def moved(router: Router, motions: Motions) -> None:
    """The slot has moved for good, and both shards' guards know."""
    new = motions.publish(Motion.MOVED, "s1")
    for shard in ("s0", "s1"):
        guard(router, shard, new)


def test_a_unit_of_work_is_repeated_where_the_slot_is(
    router: Router, late: Router, cluster: Cluster, motions: Motions, keys: tuple[int, int, int]
) -> None:
    calls: list[str] = []

    @late.unit_of_work(key=lambda key: key)
    def order(session: ShardSession, key: int) -> str:
        calls.append(session.unit.shard.id)
        session.execute(insert(Order).values(id=7, user_id=key))
        return session.unit.shard.id

    moved(router, motions)
    plant(cluster, "s1", keys[0])
    assert order(keys[0]) == "s1"
    assert calls == ["s0", "s1"]
    with pytest.raises(WrongShardKey):
        late.unit_of_work(key=lambda: keys[0])(
            lambda session: session.execute(insert(Order).values(id=1, user_id=keys[1]))
        )()


def test_a_refusal_that_no_topology_explains_is_raised(
    router: Router, late: Router, motions: Motions, keys: tuple[int, int, int]
) -> None:
    calls: list[int] = []

    @late.unit_of_work(key=lambda: keys[0])
    def order(session: ShardSession) -> None:
        calls.append(1)
        session.execute(text("INSERT INTO orders VALUES (7, :key)"), {"key": keys[2]})

    with pytest.raises(SlotNotOwned):
        order()
    assert calls == [1]


def test_sessions_and_transactions_tell_that_the_slot_moved(
    router: Router, late: Router, motions: Motions, keys: tuple[int, int, int]
) -> None:
    moved(router, motions)
    with pytest.raises(SlotNotOwned) as refused, late.session(keys[0]) as session:
        session.add(Order(id=7, user_id=keys[0]))
        session.commit()
    assert refused.value.retryable and refused.value.shard == "s0"
    eventually(lambda: late.shard_of(keys[0]).id == "s1")


def test_a_transaction_over_shards_tells_that_a_slot_moved(
    router: Router, late: Router, cluster: Cluster, motions: Motions, keys: tuple[int, int, int]
) -> None:
    moving, _, other = keys
    moved(router, motions)
    with pytest.raises(SlotNotOwned), late.transaction([other, moving]) as tx:
        tx[other].add(Order(id=7, user_id=other))
        tx[moving].add(Order(id=7, user_id=moving))
    eventually(lambda: late.shard_of(moving).id == "s1")
    plant(cluster, "s1", moving)
    with late.transaction([other, moving]) as tx:
        for key in (other, moving):
            tx[key].add(Order(id=7, user_id=key))
    with cluster.connect("s1-p") as connection:
        found = connection.execute("SELECT user_id FROM orders WHERE id = 7").fetchall()
    assert sorted(key for (key,) in found) == sorted([other, moving])


async def test_an_async_unit_of_work_is_repeated_too(
    router: Router, late: Router, cluster: Cluster, motions: Motions, keys: tuple[int, int, int]
) -> None:
    async with AsyncRouter.from_config(cluster.settings_path.with_name("late.toml")) as arouter:
        moved(router, motions)
        plant(cluster, "s1", keys[0])

        @arouter.unit_of_work(key=lambda key: key)
        async def order(session: AsyncSession, key: int) -> None:
            await session.execute(insert(Order).values(id=7, user_id=key))

        await order(keys[0])
        assert arouter.shard_of(keys[0]).id == "s1"


def test_a_token_brings_a_late_router_up_to_the_move(
    router: Router, late: Router, cluster: Cluster, motions: Motions, keys: tuple[int, int, int]
) -> None:
    """The new owner has taken a write; another process reads after it, by an old topology."""
    plant(cluster, "s1", keys[0])
    new = motions.publish(Motion.MOVED, "s1")
    guard(router, "s1", new)
    eventually(lambda: router.topology.epoch == new.epoch)
    with router.causal():
        with router.session(keys[0]) as session:
            session.add(Order(id=9, user_id=keys[0]))
            session.commit()
        token = router.token()
    query = select(Order.id).where(Order.user_id == keys[0], Order.id == 9)
    with late.causal(), late.session(keys[0], read="primary") as session:
        assert session.scalar(query) is None, "it reads where the rows were"
    with late.causal(token), late.session(keys[0], read="replica") as session:
        assert session.scalar(query) == 9
    assert late.topology.epoch == new.epoch


def test_a_token_of_another_fleet_is_no_obstacle(
    router: Router, keys: tuple[int, int, int]
) -> None:
    token = Token({}, epoch=1000).to_text()
    with router.causal(token), router.session(keys[0], read="primary") as session:
        assert session.get(User, keys[0]) is not None
