"""psycopg's asynchronous side through the proxy, and its pool."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
from psycopg import errors
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from tests.support.eventually import PATIENCE
from tests.support.proxy import ProxyProcess

Connection = psycopg.AsyncConnection[TupleRow]


@pytest.fixture
async def connection(either: ProxyProcess, schema: str) -> AsyncIterator[Connection]:
    dsn = either.dsn(options=f"-c search_path={schema}")
    async with await Connection.connect(dsn, autocommit=True) as opened:
        await opened.execute("CREATE TABLE item (id int PRIMARY KEY, name text)")
        yield opened


async def one(connection: Connection, query: str, values: object = None) -> object:
    row = await (await connection.execute(query.encode(), values)).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return row[0]


async def test_pipeline(connection: Connection):
    async with connection.pipeline():
        cursors = [await connection.execute("SELECT %s::int", [n]) for n in range(200)]
    assert [await c.fetchone() for c in cursors] == [(n,) for n in range(200)]


async def test_pipeline_of_transactions(connection: Connection):
    connection.prepare_threshold = 0
    async with connection.pipeline():
        for number in range(20):
            async with connection.transaction():
                await connection.execute("INSERT INTO item VALUES (%s, 'x')", [number])
    assert await one(connection, "SELECT count(*) FROM item") == 20


async def test_copy(connection: Connection):
    async with connection.cursor() as cursor:
        async with cursor.copy("COPY item FROM STDIN") as copy:
            for number in range(3000):
                await copy.write_row((number, "x"))
        async with cursor.copy("COPY item TO STDOUT (FORMAT BINARY)") as copy:
            size = sum([len(block) async for block in copy])
    assert size > 3000 * 10


async def test_server_cursor(connection: Connection):
    async with connection.transaction():
        async with connection.cursor("mine") as cursor:
            await cursor.execute("SELECT generate_series(1, 500)")
            assert [n async for (n,) in cursor] == list(range(1, 501))


async def test_cancelled_task(connection: Connection):
    """A task that is cancelled cancels its query; the connection goes on."""
    await connection.set_autocommit(True)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(connection.execute("SELECT pg_sleep(600)"), 0.3)
    assert await one(connection, "SELECT 1") == 1


async def test_cancel(connection: Connection):
    task = asyncio.ensure_future(connection.execute("SELECT pg_sleep(600)"))
    while not task.done():
        await asyncio.sleep(0.05)
        await connection.cancel_safe(timeout=10 * PATIENCE)
    with pytest.raises(errors.QueryCanceled):
        task.result()
    assert await one(connection, "SELECT 1") == 1


async def test_notifies(connection: Connection, either: ProxyProcess, schema: str):
    await connection.execute(f"LISTEN {schema}")
    with either.connect() as other:
        other.execute("SELECT pg_notify(%s, 'hello')", [schema])
    heard = [n async for n in connection.notifies(timeout=10 * PATIENCE, stop_after=1)]
    assert [notify.payload for notify in heard] == ["hello"]


async def test_pool(either: ProxyProcess, schema: str):
    """The pool checks its connections, and leaves nothing in them for the next."""
    dsn = either.dsn(options=f"-c search_path={schema}")
    kinds = {"check": AsyncConnectionPool.check_connection, "timeout": 20 * PATIENCE}
    async with AsyncConnectionPool(dsn, min_size=2, max_size=8, open=False, **kinds) as pool:

        async def work(number: int) -> int:
            async with pool.connection() as connection:
                return int(str(await one(connection, "SELECT %s::int * 2", [number])))

        assert await asyncio.gather(*map(work, range(60))) == [n * 2 for n in range(60)]


async def test_shard_by_option(either: ProxyProcess):
    options = "-c shardrouter.shard=s0 -c shardrouter.role=replica"
    async with await Connection.connect(either.dsn(options=options)) as connection:
        assert await one(connection, "SELECT pg_is_in_recovery()") is True
    async with await Connection.connect(
        either.dsn(target_session_attrs="read-write")
    ) as connection:
        assert await one(connection, "SELECT pg_is_in_recovery()") is False
