"""Messages that come in halves: a backend is free only when all of them has been sent."""

import asyncio

import pytest

from shardrouter.wire import messages
from tests.plugins.fix_raw import ProxyLike
from tests.support.proxy import ProxyProcess

LONG = 200_000  # bytes: longer than what the proxy holds of one message


@pytest.fixture
def one(proxy_like: ProxyLike) -> ProxyProcess:
    return proxy_like(proxy_pool={"size": 1})


def half_of_copy_data(first: int = 100_000) -> tuple[bytes, bytes]:
    """CopyData outside of COPY is ignored by a server, and owes no answer."""
    whole = messages.typed(b"d", b"x" * LONG)
    return whole[:first], whole[first:]


async def test_query_behind_the_end_of_an_ignored_message_is_answered_to_its_client(one, raw):
    first, second = await raw(one), await raw(one)
    begin, end = half_of_copy_data()
    answer = await first.ask(messages.query("SELECT 'ready'"), begin)
    assert answer[-1].kind == "Z"
    await asyncio.sleep(0.05)  # the proxy has seen that all is answered
    first.send(end, messages.query("SELECT 'of the first'"))
    got = [await second.value("SELECT 'of the second'") for _ in range(3)]
    assert got == ["of the second"] * 3
    assert [m.columns() for m in await first.until("Z") if m.kind == "D"] == [[b"of the first"]]


async def test_question_of_the_proxy_never_lands_inside_a_message(one, raw):
    client = await raw(one)
    begin, end = half_of_copy_data()
    await client.ask(messages.query("SET work_mem = '7MB'"), begin)
    await asyncio.sleep(0.05)
    client.send(end)
    assert await client.value("SHOW work_mem") == "7MB"
    other = await raw(one)
    assert await other.value("SHOW work_mem") != "7MB"
