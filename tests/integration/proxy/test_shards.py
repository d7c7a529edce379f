"""A session names its shard or its key; the shards' guards refuse what is sent to the wrong one."""

from collections.abc import Iterator

import asyncpg
import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from shardrouter.catalog import CatalogStore, catalog_engine
from shardrouter.topology import Epoch
from tests.plugins.fix_proxy import MakeProxy
from tests.support.cluster import Cluster
from tests.support.guarded import CREATE_ORDERS, ORDERS, Guarded
from tests.support.proxy import ProxyProcess

NOT_OWNED = "SR001"


@pytest.fixture
def guarded(cluster: Cluster) -> Iterator[Guarded]:
    """Both shards with the guarded table; the catalog knows it."""
    topology = cluster.topology.next(tables=(ORDERS,))
    engines = {
        shard: create_engine(
            cluster.dsn(f"{shard}-p").replace("postgresql://", "postgresql+psycopg://"),
            poolclass=NullPool,
        )
        for shard in ("s0", "s1")
    }
    ours = Guarded(cluster, topology, engines)
    for shard in engines:
        with ours.connect(shard) as connection:
            connection.execute(CREATE_ORDERS)
        ours.install(topology, shard)
    catalog = catalog_engine(cluster.catalog_dsn)
    CatalogStore(catalog).publish(topology, expected=Epoch(1), actor="tests", reason="a table")
    yield ours
    for engine in (catalog, *engines.values()):
        engine.dispose()


@pytest.fixture
def proxy(guarded: Guarded, make_proxy: MakeProxy) -> ProxyProcess:
    return make_proxy()


def rows(guarded: Guarded, shard: str) -> set[object]:
    with guarded.connect(shard) as connection:
        return {row[0] for row in connection.execute("SELECT user_id FROM orders").fetchall()}


INSERT = "INSERT INTO orders (id, user_id) VALUES (%s, %s)"


def test_rows_land_where_their_key_belongs(proxy, guarded):
    keys = {shard: [guarded.key_of(shard, n) for n in range(8)] for shard in ("s0", "s1")}
    with proxy.connect() as connection:
        for pair in zip(keys["s0"], keys["s1"], strict=True):
            for key in pair:
                connection.execute(f"SET shardrouter.key = '{key}'")
                connection.execute(INSERT, [key, key])
                connection.execute(f"SET shardrouter.key = '{key}'", prepare=True)
                row = connection.execute("SELECT user_id FROM orders WHERE user_id = %s", [key])
                assert row.fetchone() == (key,)
    for shard, owned in keys.items():
        assert rows(guarded, shard) == set(owned)


def test_wrong_shard_is_refused_by_its_guard(proxy, guarded):
    key = guarded.key_of("s1")
    with proxy.connect(shard="s0") as connection:
        for text, given in ((INSERT, [1, key]), (INSERT.replace("%s", str(key)), None)):
            with pytest.raises(psycopg.Error) as caught:
                connection.execute(text, given)
            assert caught.value.sqlstate == NOT_OWNED
        connection.execute("SET shardrouter.shard = 's1'")
        connection.execute(INSERT, [1, key])
    assert (rows(guarded, "s0"), rows(guarded, "s1")) == (set(), {key})


def test_what_is_refused(proxy):
    def state(connection, text, prepare=False):
        with pytest.raises(psycopg.Error) as caught:
            connection.execute(text, prepare=prepare)
        return caught.value

    with proxy.connect() as connection:
        for prepare in (False, True):
            error = state(connection, "SELECT 1", prepare)
            assert error.sqlstate == "0A000"
            assert "SET shardrouter.key" in (error.diag.message_hint or "")
            assert state(connection, "SET shardrouter.shard = 'nowhere'", prepare).sqlstate
            assert state(connection, "SET shardrouter.nonsense = 'x'", prepare).sqlstate == "42704"
            assert state(connection, "SET shardrouter.role = 'king'", prepare).sqlstate == "22023"
            wrong = "SET shardrouter.key_type = 'nonsense'"
            connection.execute("SET shardrouter.key = '1'")
            assert state(connection, wrong, prepare).sqlstate == "22023"
            connection.execute("SET shardrouter.shard = 's0'", prepare=prepare)
            assert connection.execute("SHOW shardrouter.shard").fetchone() == ("s0",)
            connection.execute("BEGIN")
            error = state(connection, "SET shardrouter.shard = 's1'", prepare)
            assert error.sqlstate == "25001"
            connection.execute("ROLLBACK")
            assert connection.execute("SHOW shardrouter.shard").fetchone() == ("s0",)
            connection.execute("RESET shardrouter.shard", prepare=prepare)
            assert state(connection, "SELECT 1", prepare).sqlstate == "0A000"
    with pytest.raises(psycopg.OperationalError):
        proxy.connect(shard="nowhere")


async def test_asyncpg_by_keys(proxy, guarded):
    url = f"postgresql://postgres@127.0.0.1:{proxy.port}/{proxy.cluster.database}?sslmode=disable"
    connection = await asyncpg.connect(url)
    try:
        for shard in ("s0", "s1", "s0"):
            key = guarded.key_of(shard, 3)
            await connection.execute(f"SET shardrouter.key = '{key}'")
            insert = "INSERT INTO orders VALUES ($1, $2) ON CONFLICT DO NOTHING"
            await connection.fetch(insert, key, key)
            assert await connection.fetchval("SELECT user_id FROM orders") == key
            async with connection.transaction():
                assert await connection.fetchval("SELECT count(*) FROM orders") == 1
    finally:
        await connection.close()
