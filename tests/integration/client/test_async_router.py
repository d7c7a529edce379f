"""The asyncio door: what must hold there too, and what only asyncio can break."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from shardrouter import AsyncRouter
from shardrouter.errors import PoolTimeout, ReadOnlySession, ShardSwapError, WrongShardKey
from tests.support.cluster import Cluster
from tests.support.orders import Order, User, keys_on


@pytest.fixture
async def arouter(cluster: Cluster, tables: None) -> AsyncIterator[AsyncRouter]:
    async with AsyncRouter.from_config(cluster.settings_path) as opened:
        with opened.causal():
            yield opened


async def test_rows_land_on_the_shard_of_their_key(arouter: AsyncRouter, cluster: Cluster) -> None:
    for shard in ("s0", "s1"):
        (key,) = keys_on(arouter, shard, 1)
        async with arouter.session(key) as session:
            session.add(User(id=key, name="x", orders=[Order(id=1, note="y")]))
            await session.commit()
        with cluster.connect(f"{shard}-p") as admin:
            assert admin.execute("SELECT id FROM users").fetchall() == [(key,)]


async def test_checks_are_the_same(arouter: AsyncRouter) -> None:
    mine, other = keys_on(arouter, "s0", 2)
    async with arouter.session(mine) as session:
        session.add(User(id=other, name="x"))
        with pytest.raises(WrongShardKey):
            await session.commit()
    async with arouter.session(mine, read="replica") as session:
        session.add(User(id=mine, name="x"))
        with pytest.raises(ReadOnlySession):
            await session.flush()
    with arouter.pin():
        async with arouter.session(mine):
            pass
        with pytest.raises(ShardSwapError):
            arouter.session(other)


async def test_reads_follow_writes_while_replay_is_frozen(
    arouter: AsyncRouter, cluster: Cluster
) -> None:
    (key,) = keys_on(arouter, "s0", 1)
    with cluster.replay_paused("s0-r1"):
        async with arouter.session(key) as session:
            session.add(User(id=key, name="new"))
            await session.commit()
        async with arouter.session(key, read="replica") as session:
            assert await session.scalar(select(User.name)) == "new"
        async with arouter.connection(key, read="replica") as connection:
            cursor = await connection.execute("SELECT pg_is_in_recovery(), name FROM users")
            assert await cursor.fetchone() == (False, "new")


async def test_waiting_for_a_replica_does_not_block_the_loop(
    arouter: AsyncRouter, cluster: Cluster
) -> None:
    (key,) = keys_on(arouter, "s0", 1)
    gaps: list[float] = []

    async def tick() -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(0.001)
            gaps.append(loop.time() - before)

    ticking = asyncio.ensure_future(tick())
    with cluster.replay_paused("s0-r1"):
        for i in range(5):
            async with arouter.session(key) as session:
                await session.merge(User(id=key, name=str(i)))
                await session.commit()
            async with arouter.session(key, read="replica") as session:
                assert await session.scalar(select(User.name)) == str(i)
    ticking.cancel()
    assert len(gaps) > 50, "five waits of 50 ms must have left room for many ticks"


async def test_tasks_share_the_token_of_the_scope_they_started_in(arouter: AsyncRouter) -> None:
    (key,) = keys_on(arouter, "s0", 1)

    async def write() -> None:
        async with arouter.session(key) as session:
            session.add(User(id=key, name="x"))
            await session.commit()

    before = arouter.token()
    await asyncio.gather(write())
    assert arouter.token() != before


async def test_unit_of_work_decorates_coroutines(arouter: AsyncRouter, cluster: Cluster) -> None:
    (key,) = keys_on(arouter, "s0", 1)

    @arouter.unit_of_work(key=lambda user: user.id)
    async def store(session: AsyncSession, user: User) -> str:
        session.add(user)
        return user.name

    assert await store(User(id=key, name="kept")) == "kept"
    with cluster.connect("s0-p") as admin:
        assert admin.execute("SELECT name FROM users").fetchall() == [("kept",)]


async def test_cancelled_statement_does_not_poison_the_pool(cluster: Cluster, tables: None) -> None:
    cluster.settings_path.write_text(
        f'[catalog]\ndsn = "{cluster.catalog_dsn}"\n[pool]\nsize = 1\n'
        "checkout_timeout_seconds = 5\n"
    )
    async with AsyncRouter.from_config(cluster.settings_path) as arouter:
        (key,) = keys_on(arouter, "s0", 1)
        for sql in ("SELECT pg_sleep(30)", "SELECT pg_sleep(30)"):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1), arouter.session(key) as session:
                    await session.execute(text(sql))
        for i in range(3):
            async with arouter.connection(key) as connection:
                cursor = await connection.execute(f"SELECT {i}".encode())
                assert await cursor.fetchone() == (i,)


async def test_full_pool_times_out(cluster: Cluster, tables: None) -> None:
    cluster.settings_path.write_text(
        f'[catalog]\ndsn = "{cluster.catalog_dsn}"\n[pool]\nsize = 1\n'
        "checkout_timeout_seconds = 0.2\n"
    )
    async with AsyncRouter.from_config(cluster.settings_path) as arouter:
        (key,) = keys_on(arouter, "s0", 1)
        async with arouter.connection(key):
            with pytest.raises(PoolTimeout, match="node s0-p"):
                async with arouter.connection(key):
                    pass
