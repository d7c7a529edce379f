"""A cancel reaches what its owner runs, and nothing else."""

import asyncio
import secrets

import psycopg
import pytest

from shardrouter.wire import messages
from tests.plugins.fix_raw import ProxyLike
from tests.support.eventually import eventually_async
from tests.support.proxy import ProxyProcess
from tests.support.raw_client import RawClient, kinds, send_cancel

CANCELED = "57014"


@pytest.fixture
def one(proxy_like: ProxyLike) -> ProxyProcess:
    return proxy_like(proxy_pool={"size": 1})


def states(proxy: ProxyProcess) -> list[str]:
    """Return what the clients do."""
    with proxy.admin() as admin:
        cursor = admin.execute("SHOW CLIENTS")
        assert cursor.description is not None
        at = [column.name for column in cursor.description].index("state")
        return sorted(row[at] for row in cursor.fetchall())


def is_asleep(proxy: ProxyProcess) -> bool:
    """True when a server sleeps: it ignores a cancel that comes before the statement it is for."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = %s"
    with proxy.cluster.connect("s0-p") as connection:
        return connection.execute(query, ["SELECT pg_sleep(30)"]).fetchone() == (1,)


async def test_owner_is_told(one, raw):
    client = await raw(one)
    client.send(messages.query("SELECT pg_sleep(30)"))
    await eventually_async(lambda: is_asleep(one))
    assert await send_cancel(one.port, client.pid, client.key) == b""
    answer = await client.until("Z")
    assert [m.fields()["C"] for m in answer if m.kind == "E"] == [CANCELED]
    assert await client.value("SELECT 'goes on'") == "goes on"


async def test_cancel_inside_a_transaction(one, raw):
    client = await raw(one)
    await client.query("BEGIN")
    client.send(messages.query("SELECT pg_sleep(30)"))
    await eventually_async(lambda: is_asleep(one))
    await send_cancel(one.port, client.pid, client.key)
    answer = await client.until("Z")
    assert (answer[-2].fields()["C"], answer[-1].body) == (CANCELED, b"E")
    assert await client.value("SELECT 1") == "25P02"


async def test_waiting_client_leaves_the_row(one, raw):
    holder, waiter, next_one = await raw(one), await raw(one), await raw(one)
    await holder.query("BEGIN")
    waiter.send(messages.query("SELECT 'waited'"))
    next_one.send(messages.query("SELECT 'next'"))
    await eventually_async(lambda: states(one).count("waiting") == 2)
    await send_cancel(one.port, waiter.pid, waiter.key)
    answer = await waiter.until("Z")
    assert kinds(answer) == "EZ"
    assert answer[0].fields()["C"] == CANCELED
    assert answer[1].body == b"I"
    assert states(one).count("waiting") == 1
    await holder.query("COMMIT")
    assert "D" in kinds(await next_one.until("Z"))
    assert await waiter.value("SELECT 'again'") == "again"


async def test_waiting_extended_query_is_skipped_to_its_sync(one, raw):
    holder, waiter = await raw(one), await raw(one)
    await holder.query("BEGIN")
    waiter.send(
        messages.parse("", "SELECT 1"), messages.bind("", ""), messages.execute(), messages.sync()
    )
    await eventually_async(lambda: states(one).count("waiting") == 1)
    await send_cancel(one.port, waiter.pid, waiter.key)
    assert kinds(await waiter.until("Z")) == "EZ"
    await holder.query("COMMIT")
    assert await waiter.value("SELECT 'again'") == "again"


async def test_idle_client_hears_nothing(one, raw):
    client = await raw(one)
    for _ in range(5):
        await send_cancel(one.port, client.pid, client.key)
        assert await client.value("SELECT 'nothing happened'") == "nothing happened"
    await client.query("BEGIN")
    await client.query("SELECT 1")
    await send_cancel(one.port, client.pid, client.key)
    assert await client.value("SELECT 'nothing happened'") == "nothing happened"
    assert kinds(await client.query("COMMIT")) == "CZ"


@pytest.mark.parametrize("size", [4, 32, 252])
async def test_unknown_key_is_closed_without_a_word(size, one, raw):
    client = await raw(one)
    client.send(messages.query("SELECT pg_sleep(0.2)"))
    assert await send_cancel(one.port, client.pid, secrets.token_bytes(size)) == b""
    assert await send_cancel(one.port, client.pid ^ 1, client.key) == b""
    assert kinds(await client.until("Z")) == "TDCZ"


async def test_long_key_of_protocol_3_2(one, raw):
    client = await raw(one, version=196610)
    assert len(client.key) == 32
    client.send(messages.query("SELECT pg_sleep(30)"))
    await eventually_async(lambda: is_asleep(one))
    await send_cancel(one.port, client.pid, client.key[:4])
    await send_cancel(one.port, client.pid, client.key[:31] + b"\0")
    assert states(one) == ["active"]
    await send_cancel(one.port, client.pid, client.key)
    assert (await client.until("Z"))[-2].fields()["C"] == CANCELED


@pytest.mark.parametrize("workers", [1, 2])
async def test_cancel_by_psycopg(workers, proxy_like):
    """With two workers the request often comes to the one that does not have the client."""
    proxy = proxy_like(proxy={"workers": workers}, proxy_pool={"size": 4})
    connection = await psycopg.AsyncConnection.connect(proxy.dsn(), autocommit=True)
    async with connection:
        for _ in range(8):
            running = asyncio.ensure_future(connection.execute("SELECT pg_sleep(30)"))
            await eventually_async(lambda: is_asleep(proxy))
            await connection.cancel_safe(timeout=10)
            with pytest.raises(psycopg.errors.QueryCanceled):
                await running


@pytest.mark.timeout(120)
async def test_storm(one, raw):
    await _storm(one, raw, 1_000)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_long_storm(one, raw):
    await _storm(one, raw, 10_000)


async def _storm(proxy: ProxyProcess, raw, cancels: int) -> None:
    """The one that is cancelled shares its backend with others, who must never notice."""
    victim = await raw(proxy)
    others = [await raw(proxy) for _ in range(4)]
    is_over = asyncio.Event()

    async def ask(client: RawClient, found: list[str | None]) -> None:
        while not is_over.is_set():
            found.append(await client.value("SELECT 'unharmed'"))

    async def cancel(count: int) -> None:
        for _ in range(count):
            await send_cancel(proxy.port, victim.pid, victim.key)

    of_victim: list[str | None] = []
    of_others: list[str | None] = []
    asking = [asyncio.ensure_future(ask(victim, of_victim))]
    asking += [asyncio.ensure_future(ask(client, of_others)) for client in others]
    await asyncio.gather(*(cancel(cancels // 10) for _ in range(10)))
    is_over.set()
    await asyncio.gather(*asking)
    assert set(of_others) == {"unharmed"}
    assert set(of_victim) <= {"unharmed", CANCELED}
    assert len(of_others) > cancels / 50
    assert await victim.value("SELECT 'unharmed'") == "unharmed"
