"""A gather that is cut off while shards work leaves the router as it was."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest
from sqlalchemy import func, select

from shardrouter import AsyncRouter, Router
from shardrouter.errors import ScatterFailed
from tests.support.cluster import Cluster
from tests.support.eventually import eventually
from tests.support.orders import User, keys_on

WAITING = (
    "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
    "AND datname = current_database() AND query LIKE '%users%'"
)


@pytest.fixture
def filled(router: Router) -> None:
    for key in (*keys_on(router, "s0", 2), *keys_on(router, "s1", 2)):
        with router.session(key) as session:
            session.add(User(id=key, name="n"))
            session.commit()


@contextmanager
def locked(cluster: Cluster, node: str) -> Iterator[psycopg.Connection]:  # type: ignore[type-arg]
    """Keep everybody from reading the table users of a shard."""
    with cluster.connect(node) as holder, holder.transaction():
        holder.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        yield holder


def test_a_backend_that_dies_is_named_and_replaced(
    router: Router, cluster: Cluster, filled: None
) -> None:
    with ThreadPoolExecutor(1) as threads, cluster.connect("s1-p") as admin:
        with locked(cluster, "s1-p"):
            under_way = threads.submit(router.gather, select(User.id))
            [pid] = eventually(lambda: admin.execute(WAITING).fetchone())
            admin.execute("SELECT pg_terminate_backend(%s)", [pid])
            with pytest.raises(ScatterFailed, match=r"^1 of 2 .* s1: .*terminating connection"):
                under_way.result(10)
    assert len(router.gather(select(User.id)).all()) == 4


def test_a_query_that_takes_too_long_is_named(
    router: Router, cluster: Cluster, filled: None
) -> None:
    database = cluster.database
    with cluster.connect("s0-p") as admin:
        admin.execute(f"ALTER DATABASE {database} SET statement_timeout = '200ms'".encode())
        router.close()
        with Router.from_config(cluster.settings_path) as fresh, locked(cluster, "s0-p"):
            with pytest.raises(ScatterFailed, match="s0: QueryCanceled: canceling statement"):
                fresh.gather(select(func.count(User.id)))


async def test_a_cancelled_gather_leaves_no_query_behind(
    cluster: Cluster, router: Router, filled: None
) -> None:
    async with AsyncRouter.from_config(cluster.settings_path) as arouter:
        assert len((await arouter.gather(select(User.id))).all()) == 4
        with locked(cluster, "s1-p"):
            for query in (select(User.id), select(User)):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.3):
                        await arouter.gather(query)
        eventually(lambda: nobody_waits(cluster))
        for query in (select(User.id), select(User)):
            assert len((await arouter.gather(query)).all()) == 4


def nobody_waits(cluster: Cluster) -> bool:
    with cluster.connect("s1-p") as admin:
        return admin.execute(WAITING).fetchone() is None
