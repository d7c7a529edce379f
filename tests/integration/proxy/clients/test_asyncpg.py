"""asyncpg through the proxy: its statement cache, introspection, pool and the reset of it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tests.support.eventually import PATIENCE, eventually_async
from tests.support.proxy import ProxyProcess

PATIENT = 20 * PATIENCE


def arguments(proxy: ProxyProcess, schema: str, **settings: str) -> dict[str, Any]:
    return {
        "host": "127.0.0.1",
        "port": proxy.port,
        "user": "postgres",
        "database": proxy.cluster.database,
        "ssl": False,
        "timeout": PATIENT,
        "command_timeout": PATIENT,
        "server_settings": {"search_path": schema, **settings},
    }


@pytest.fixture
async def connection(either: ProxyProcess, schema: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(**arguments(either, schema))
    await opened.execute("CREATE TABLE item (id int PRIMARY KEY, name text)")
    yield opened
    await opened.close()


async def test_statement_cache(connection: asyncpg.Connection):
    """Named statements, prepared once by the client and used in later transactions."""
    for number in range(40):
        assert await connection.fetchval("SELECT $1::int + 1", number) == number + 1
        async with connection.transaction():
            assert await connection.fetchval("SELECT $1::text || 'x'", "y") == "yx"


async def test_clients_share_statements(either: ProxyProcess, schema: str):
    """Every asyncpg calls its statements __asyncpg_stmt_1__ and so on: not the same ones."""
    opened = [await asyncpg.connect(**arguments(either, schema)) for _ in range(5)]
    queries = [f"SELECT {n} * $1::int" for n in range(5)]
    for turn in range(4):
        for at, client in enumerate(opened):
            for number in ((at + turn) % 5, at):
                assert await client.fetchval(queries[number], 10) == number * 10
    for client in opened:
        await client.close()


async def test_prepared_statement(connection: asyncpg.Connection):
    statement = await connection.prepare("SELECT $1::int AS a, $2::text AS b")
    assert [each.name for each in statement.get_attributes()] == ["a", "b"]
    assert [each.name for each in statement.get_parameters()] == ["int4", "text"]
    async with connection.transaction():
        assert await statement.fetchrow(1, "x") == (1, "x")
    assert await statement.fetch(2, "y") == [(2, "y")]
    assert await statement.explain(1, "x")


async def test_small_cache(either: ProxyProcess, schema: str):
    """Statements beyond the cache are closed by Close messages."""
    wanted = {**arguments(either, schema), "statement_cache_size": 2}
    client = await asyncpg.connect(**wanted)
    for turn in range(3):
        for number in range(6):
            assert await client.fetchval(f"SELECT {number} + $1::int", turn) == number + turn
    await client.close()


async def test_no_cache(either: ProxyProcess, schema: str):
    client = await asyncpg.connect(**arguments(either, schema), statement_cache_size=0)
    for number in range(10):
        assert await client.fetchval("SELECT $1::int", number) == number
    await client.close()


async def test_cursor(connection: asyncpg.Connection):
    async with connection.transaction():
        query = "SELECT generate_series(1, $1::int)"
        assert [r[0] async for r in connection.cursor(query, 500, prefetch=30)] == [*range(1, 501)]
        cursor = await connection.cursor(query, 100)
        await cursor.forward(10)
        assert await cursor.fetchrow() == (11,)
        assert len(await cursor.fetch(5)) == 5


async def test_copy(connection: asyncpg.Connection, tmp_path: Any):
    rows = [(n, "x" * (n % 40)) for n in range(4000)]
    assert await connection.copy_records_to_table("item", records=rows) == "COPY 4000"
    file = tmp_path / "rows.csv"
    assert await connection.copy_from_table("item", output=file, format="csv") == "COPY 4000"
    await connection.execute("TRUNCATE item")
    assert await connection.copy_to_table("item", source=file, format="csv") == "COPY 4000"
    query = "SELECT * FROM item WHERE id < $1"
    assert await connection.copy_from_query(query, 7, output=file) == "COPY 7"
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.copy_records_to_table("item", records=rows[:3])
    assert await connection.fetchval("SELECT count(*) FROM item") == 4000


async def test_introspection(connection: asyncpg.Connection, schema: str):
    """Unknown types are looked up by queries of asyncpg's own, between Parse and Bind."""
    await connection.execute(
        "CREATE TYPE mood AS ENUM ('glad', 'sad'); CREATE TYPE pair AS (a int, m mood);"
        "CREATE DOMAIN small AS int CHECK (VALUE < 10);"
        "CREATE TYPE span AS RANGE (subtype = int8)"
    )
    async with connection.transaction():
        row = await connection.fetchrow(
            "SELECT $1::mood AS m, $2::pair[] AS p, $3::small AS s, $4::span AS r, $5::mood[] AS l",
            "sad", [(1, "glad")], 3, asyncpg.Range(1, 5), ["glad", "sad"],
        )  # fmt: skip
    assert row is not None
    assert row["m"] == "sad" and row["p"] == [(1, "glad")] and row["l"] == ["glad", "sad"]
    await connection.set_type_codec("mood", encoder=str, decoder=str.upper, schema=schema)
    assert await connection.fetchval("SELECT 'sad'::mood") == "SAD"


async def test_transactions(connection: asyncpg.Connection):
    with pytest.raises(asyncpg.UniqueViolationError):
        async with connection.transaction(isolation="serializable"):
            await connection.execute("INSERT INTO item VALUES (1, 'one')")
            async with connection.transaction():
                await connection.execute("INSERT INTO item VALUES (2, 'two')")
            await connection.execute("INSERT INTO item VALUES (1, 'again')")
    assert await connection.fetchval("SELECT count(*) FROM item") == 0
    await connection.executemany("INSERT INTO item VALUES ($1, $2)", [(n, "x") for n in range(300)])
    assert await connection.fetchval("SELECT count(*) FROM item") == 300
    rows = await connection.fetchmany("SELECT $1::int", [(1,), (2,)])
    assert rows == [(1,), (2,)]


async def test_pool(either: ProxyProcess, schema: str):
    """Released connections are reset: pg_advisory_unlock_all, CLOSE ALL, UNLISTEN, RESET ALL."""
    sizes = {"min_size": 2, "max_size": 6}
    async with asyncpg.create_pool(**arguments(either, schema), **sizes) as pool:

        async def work(number: int) -> int:
            async with pool.acquire() as connection:
                await connection.execute("SET statement_timeout = '9s'")
                await connection.execute("SELECT pg_advisory_lock(77000 + $1)", number)
                return int(await connection.fetchval("SELECT $1::int * 2", number))

        assert await asyncio.gather(*map(work, range(40))) == [n * 2 for n in range(40)]
        async with pool.acquire() as connection:
            assert await connection.fetchval("SHOW statement_timeout") == "0"
            assert await connection.fetchval("SHOW search_path") == schema
            held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid >= 77000"
            assert await connection.fetchval(held) == 0


async def test_reset_unpins(proxy: ProxyProcess, schema: str):
    """What the pool's reset lets go of keeps no backend any more."""
    client = await asyncpg.connect(**arguments(proxy, schema))
    await client.add_listener("news", lambda *_: None)
    await client.execute("SELECT pg_advisory_lock(78001)")
    await eventually_async(lambda: _pins(proxy) == {"LISTEN, advisory lock"})
    await client.reset()
    await eventually_async(lambda: not _pins(proxy))
    await client.close()


async def test_listeners(connection: asyncpg.Connection, either: ProxyProcess, schema: str):
    heard: list[str] = []
    await connection.add_listener(schema, lambda *told: heard.append(told[3]))
    other = await asyncpg.connect(**arguments(either, schema))
    for number in range(3):
        await other.execute("SELECT pg_notify($1, $2)", schema, str(number))
    await other.close()
    await eventually_async(lambda: heard == ["0", "1", "2"])
    await connection.remove_listener(schema, heard.append)


async def test_timeout_cancels(connection: asyncpg.Connection):
    with pytest.raises(TimeoutError):
        await connection.fetchval("SELECT pg_sleep(600)", timeout=0.3)
    assert await connection.fetchval("SELECT 1") == 1


async def test_notices(connection: asyncpg.Connection):
    heard: list[str] = []
    connection.add_log_listener(lambda _, message: heard.append(message.message))
    await connection.execute("DO $$ BEGIN RAISE NOTICE 'hello'; END $$")
    assert heard == ["hello"]


async def test_settings_of_the_proxy(proxy: ProxyProcess, schema: str):
    told = {"shardrouter.shard": "s0", "shardrouter.role": "replica"}
    client = await asyncpg.connect(**arguments(proxy, schema, **told))
    assert await client.fetchval("SELECT pg_is_in_recovery()") is True
    assert await client.fetchval("SHOW shardrouter.role") == "replica"
    await client.execute("SET shardrouter.role = 'primary'")
    assert await client.fetchval("SELECT pg_is_in_recovery()") is False
    with pytest.raises(asyncpg.PostgresError, match="there is no shard"):
        await client.execute("SET shardrouter.shard = 'nowhere'")
    assert await client.fetchval("SELECT 1") == 1
    await client.close()


async def test_shards(make_proxy: Any):
    """The setting by execute, by server_settings, and none: refused, not guessed."""
    proxy = make_proxy()
    client = await asyncpg.connect(**arguments(proxy, "public"))
    with pytest.raises(asyncpg.PostgresError, match="this session names none"):
        await client.fetchval("SELECT $1::int", 1)
    ports = set()
    for shard in ("s0", "s1", "s0"):
        await client.execute(f"SET shardrouter.shard = '{shard}'")
        ports.add((shard, await client.fetchval("SELECT current_setting('port')")))
        assert await client.fetchval("SELECT $1::int", 1) == 1
    assert len(ports) == 2
    await client.close()
    named = arguments(proxy, "public", **{"shardrouter.shard": "s1"})
    other = await asyncpg.connect(**named)
    assert ("s1", await other.fetchval("SELECT current_setting('port')")) in ports
    await other.close()


def _pins(proxy: ProxyProcess) -> set[str]:
    """Return why clients keep their backends."""
    with proxy.admin() as admin:
        cursor = admin.execute("SHOW CLIENTS")
        assert cursor.description is not None
        at = [column.name for column in cursor.description].index("pinned")
        return {row[at] for row in cursor.fetchall() if row[at] is not None}
