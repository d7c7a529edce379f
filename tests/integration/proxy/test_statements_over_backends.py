"""Prepared statements of many clients over one or two backends."""

import asyncio

import asyncpg
import psycopg
import pytest

from shardrouter.wire import messages
from tests.plugins.fix_raw import ProxyLike
from tests.support.proxy import ProxyProcess
from tests.support.raw_client import Message, RawClient, kinds


@pytest.fixture(params=[1, 2])
def proxy(proxy_like: ProxyLike, request: pytest.FixtureRequest) -> ProxyProcess:
    return proxy_like(proxy_pool={"size": request.param})


@pytest.fixture
def one(proxy_like: ProxyLike) -> ProxyProcess:
    return proxy_like(proxy_pool={"size": 1})


def values(found: list[Message]) -> list[bytes | None]:
    return [message.columns()[0] for message in found if message.kind == "D"]


def code(found: list[Message]) -> list[str]:
    return [message.fields()["C"] for message in found if message.kind == "E"]


async def run(client: RawClient, name: str, *given: bytes) -> list[Message]:
    return await client.ask(messages.bind("", name, given), messages.execute(), messages.sync())


async def prepare(client: RawClient, name: str, text: str) -> list[Message]:
    return await client.ask(messages.parse(name, text), messages.sync())


async def test_same_name_is_another_statement_with_each_client(proxy, raw):
    clients = [await raw(proxy) for _ in range(12)]
    for number, client in enumerate(clients):
        assert kinds(await prepare(client, "mine", f"SELECT {number}")) == "1Z"
        await client.query(f"PREPARE sql_mine AS SELECT {number + 100}")
    for _ in range(3):
        answers = await asyncio.gather(*(run(client, "mine") for client in clients))
        assert [values(a) for a in answers] == [[b"%d" % n] for n in range(12)]
        answers = await asyncio.gather(*(c.query("EXECUTE sql_mine") for c in clients))
        assert [values(a) for a in answers] == [[b"%d" % (n + 100)] for n in range(12)]


async def test_same_text_of_many_clients(proxy, raw):
    clients = [await raw(proxy) for _ in range(8)]
    for number, client in enumerate(clients):
        await prepare(client, f"s{number}", "SELECT $1::text")
    answers = await asyncio.gather(*(run(c, f"s{n}", b"%d" % n) for n, c in enumerate(clients)))
    assert [values(a) for a in answers] == [[b"%d" % n] for n in range(8)]
    assert code(await run(clients[0], "s1", b"x")) == ["26000"]


async def test_unnamed_statement_over_round_trips(proxy, raw):
    clients = [await raw(proxy) for _ in range(6)]
    for number, client in enumerate(clients):
        await prepare(client, "", f"SELECT {number}")
    for _ in range(3):
        for number, client in enumerate(clients):
            assert values(await run(client, "")) == [b"%d" % number]
            described = await client.ask(messages.describe(b"S", ""), messages.sync())
            assert kinds(described) == "tTZ"


async def test_unnamed_statement_is_lost_by_a_simple_query(one, raw):
    first, second = await raw(one), await raw(one)
    await prepare(first, "", "SELECT 'of the first'")
    await prepare(second, "", "SELECT 'of the second'")
    await first.query("SELECT 1")
    assert code(await run(first, "")) == ["26000"]
    assert values(await run(second, "")) == [b"of the second"]


async def test_backend_is_free_when_the_proxy_answered_itself(one, raw):
    first, second = await raw(one), await raw(one)
    assert kinds(await first.query("PREPARE twice AS SELECT 'of the first'")) == "CZ"
    for text, answer in (
        ("PREPARE twice AS SELECT 'of the first'", "CZ"),  # the backend has it already
        ("PREPARE twice AS SELECT 'another'", "EZ"),
        ("EXECUTE _sr1", "EZ"),
        ("SHOW shardrouter.role", "TDCZ"),
        ("DEALLOCATE twice", "CZ"),
    ):
        assert kinds(await second.query(text)) == answer
        assert await first.value("SELECT 'free'") == "free"


async def test_eviction(proxy_like, raw):
    few = proxy_like(proxy_pool={"size": 1, "prepared_statements": 3})
    clients = [await raw(few) for _ in range(3)]
    for number, client in enumerate(clients):
        for at in range(5):
            await prepare(client, f"s{at}", f"SELECT {number * 10 + at}")
    for _ in range(3):
        for number, client in enumerate(clients):
            for at in range(5):
                assert values(await run(client, f"s{at}")) == [b"%d" % (number * 10 + at)]
    count = "SELECT count(*) FROM pg_prepared_statements"
    assert int(await clients[0].value(count) or "") <= 3


async def test_failed_parse_leaves_no_mapping(one, raw):
    client, other = await raw(one), await raw(one)
    assert code(await prepare(client, "bad", "SELECT nothing FROM nowhere")) == ["42P01"]
    assert code(await run(client, "bad")) == ["26000"]
    assert kinds(await prepare(client, "bad", "SELECT 'good'")) == "1Z"
    assert values(await run(client, "bad")) == [b"good"]
    assert code(await prepare(other, "bad", "SELECT nothing FROM nowhere")) == ["42P01"]
    skipped = await client.ask(
        messages.parse("", "SELEC"), messages.parse("skipped", "SELECT 1"), messages.sync()
    )
    assert kinds(skipped) == "EZ"
    assert code(await run(client, "skipped")) == ["26000"]


@pytest.mark.parametrize("text", ["DEALLOCATE ALL", "DISCARD ALL", "DEALLOCATE mine"])
@pytest.mark.parametrize("way", ["simple", "extended"])
@pytest.mark.parametrize("kind", ["protocol", "sql"])
async def test_deallocate_is_for_its_client(text, way, kind, one, raw):
    if way == "extended" and text == "DEALLOCATE mine":
        pytest.skip("a name in a text that comes by Parse is the server's")
    mine, other = await raw(one), await raw(one)
    for client in (mine, other):
        if kind == "protocol":
            await prepare(client, "mine", "SELECT 'mine'")
        else:
            await client.query("PREPARE mine AS SELECT 'mine'")
    if way == "simple":
        assert kinds(await mine.query(text)) == "CZ"
    else:
        answer = await mine.ask(
            messages.parse("", text), messages.bind("", ""), messages.execute(), messages.sync()
        )
        assert kinds(answer) == "12CZ"
    assert code(await mine.query("EXECUTE mine")) == ["26000"]
    assert code(await run(mine, "mine")) == ["26000"]
    answer = await other.query("EXECUTE mine")
    assert (values(answer), code(answer)) == ([b"mine"], [])
    assert values(await run(other, "mine")) == [b"mine"]
    assert kinds(await prepare(mine, "mine", "SELECT 'again'")) == "1Z"
    assert values(await run(mine, "mine")) == [b"again"]
    assert values(await run(other, "mine")) == [b"mine"]


async def test_statement_of_the_proxy_cannot_be_reached(one, raw):
    mine, other = await raw(one), await raw(one)
    await prepare(mine, "mine", "SELECT 'secret of mine'")
    await mine.query("PREPARE also AS SELECT 'secret of mine'")
    names = await mine.value("SELECT string_agg(name, ' ') FROM pg_prepared_statements")
    assert names
    for name in names.split():
        for text in (f"EXECUTE {name}", f"DEALLOCATE {name}", f"SELECT 1; EXECUTE {name.upper()}"):
            assert code(await other.query(text)) == ["26000"]
            answer = await other.ask(
                messages.parse("", text), messages.bind("", ""), messages.execute(), messages.sync()
            )
            assert code(answer) == ["26000"], text
        assert code(await run(other, name)) == ["26000"]
    assert values(await run(mine, "mine")) == [b"secret of mine"]


async def test_idle_backend_that_is_killed_is_not_noticed(one, raw, proxy_cluster):
    clients = [await raw(one) for _ in range(3)]
    for number, client in enumerate(clients):
        await prepare(client, "mine", f"SELECT {number}")
        await client.query(f"PREPARE sql_mine AS SELECT {number + 100}")
    for _ in range(3):
        pid = await clients[0].value("SELECT pg_backend_pid()")
        with proxy_cluster.connect("s0-p") as connection:
            connection.execute("SELECT pg_terminate_backend(%s, 5000)", [int(pid or "")])
        await asyncio.sleep(0.05)  # for the proxy to hear of it
        for number, client in enumerate(clients):
            assert values(await run(client, "mine")) == [b"%d" % number]
            assert values(await client.query("EXECUTE sql_mine")) == [b"%d" % (number + 100)]


async def test_table_that_changes_under_a_statement(one, raw, proxy_cluster):
    client, other = await raw(one), await raw(one)
    with proxy_cluster.connect("s0-p") as connection:
        connection.execute("DROP TABLE IF EXISTS changing; CREATE TABLE changing (a int)")
        connection.execute("INSERT INTO changing VALUES (1)")
        for each in (client, other):
            await prepare(each, "mine", "SELECT * FROM changing")
            assert values(await run(each, "mine")) == [b"1"]
        connection.execute("ALTER TABLE changing ADD COLUMN b int DEFAULT 2")
        assert code(await run(client, "mine")) in (["0A000"], [])
        for each in (client, other):
            answer = await run(each, "mine")
            if code(answer):
                await each.ask(messages.close(b"S", "mine"), messages.sync())
                await prepare(each, "mine", "SELECT * FROM changing")
                answer = await run(each, "mine")
            rows = [message.columns() for message in answer if message.kind == "D"]
            assert rows == [[b"1", b"2"]]
        connection.execute("DROP TABLE changing")


async def test_psycopg_and_asyncpg_prepare_over_one_backend(one):
    connections = [await psycopg.AsyncConnection.connect(one.dsn(), autocommit=True) for _ in "ab"]
    url = f"postgresql://postgres@127.0.0.1:{one.port}/{one.cluster.database}?sslmode=disable"
    others = [await asyncpg.connect(url) for _ in "cd"]
    try:
        for round_ in range(8):
            for number, connection in enumerate(connections):
                cursor = await connection.execute(f"SELECT %s::int + {number}", [round_])
                assert await cursor.fetchone() == (round_ + number,)
            for number, other in enumerate(others):
                assert await other.fetchval(f"SELECT $1::int + {number}", round_) == round_ + number
                async with other.transaction():
                    assert await other.fetchval("SELECT $1::text", "x") == "x"
    finally:
        for connection in connections:
            await connection.close()
        for other in others:
            await other.close()


async def test_parse_and_uses_behind_its_sync_in_one_packet(one, raw):
    """A name that waits for what was prepared is taken again, also when the backend is free."""
    client = await raw(one)
    for number in range(5):
        client.send(
            messages.close(b"S", "mine"),
            messages.parse("mine", f"SELECT $1::text, {number}"),
            messages.sync(),
            messages.bind("", "mine", [b"x"]),
            messages.execute(),
            messages.sync(),
            messages.bind("", "mine", [b"y"]),
            messages.execute(),
            messages.sync(),
        )
        found = [await client.until("Z") for _ in range(3)]
        assert [kinds(each) for each in found] == ["31Z", "2DCZ", "2DCZ"]
