"""A shard's guard knows more than the proxy: the statement runs on the right shard, once."""

from typing import Any

import psycopg
import pytest

from shardrouter.topology import Motion
from shardrouter.wire import messages
from tests.plugins.fix_proxy import MakeProxy
from tests.plugins.fix_raw import RawConnect
from tests.support.eventually import eventually, eventually_async
from tests.support.hand_over import HandOver
from tests.support.proxy import ProxyProcess
from tests.support.proxy_census import counters, free_http_port, rows, total
from tests.support.raw_client import RawClient, kinds

NOT_OWNED = "SR001"
PUT = """
CREATE FUNCTION put(number bigint, key bigint) RETURNS bigint LANGUAGE sql
AS 'INSERT INTO orders (id, user_id) VALUES (number, key) RETURNING id'
"""


@pytest.fixture
def http_port() -> int:
    return free_http_port()


@pytest.fixture
def proxy(hand_over: HandOver, make_proxy: MakeProxy, http_port: int) -> ProxyProcess:
    return make_proxy(proxy={"http_listen": f"127.0.0.1:{http_port}"})


def repeats(http_port: int) -> float:
    return total(counters(http_port), "repeats_total")


def fence(hand_over: HandOver) -> None:
    """The guards of what will be published next stand already: slots are paused there."""
    hand_over.guarded.install(paused(hand_over), "s0")


def paused(hand_over: HandOver) -> Any:
    return hand_over.topology.with_motion(hand_over._motion(Motion.PAUSED))


def go_on(hand_over: HandOver) -> None:
    """What a mover does from there on."""
    hand_over.publish(paused(hand_over))
    hand_over.commit()
    hand_over.activate()


async def held(proxy: ProxyProcess) -> None:
    await eventually_async(
        lambda: [row["state"] for row in rows(proxy, "SHOW CLIENTS")] == ["held"]
    )


def unnamed(text: str, *values: bytes) -> bytes:
    parts = (messages.parse("", text), messages.bind("", "", values))
    return b"".join((*parts, messages.describe(b"P", ""), messages.execute(""), messages.sync()))


async def connect(proxy: ProxyProcess, hand_over: HandOver, raw: RawConnect) -> RawClient:
    client = await raw(proxy, options=f"-c shardrouter.key={hand_over.keys[0]}")
    assert await client.value("SELECT 1") == "1"
    hand_over.copying()
    hand_over.wait_served()
    fence(hand_over)
    return client


@pytest.mark.parametrize("way", ["simple", "unnamed", "named", "returning", "two in a batch"])
async def test_it_runs_on_the_new_owner(way, proxy, hand_over, raw, http_port):
    key = hand_over.keys[0]
    client = await raw(proxy, options=f"-c shardrouter.key={key}")
    text = f"INSERT INTO orders (id, user_id) VALUES ($1::text::bigint, {key})"
    said = await client.ask(messages.parse("mine", text), messages.sync())
    assert kinds(said) == "1Z"
    hand_over.copying()
    hand_over.wait_served()
    fence(hand_over)
    one = messages.bind("", "mine", [b"1"]) + messages.execute("")
    sent, expected = {
        "simple": (messages.query(f"INSERT INTO orders VALUES (1, {key});"), "CZ"),
        "unnamed": (unnamed(text, b"1"), "12nCZ"),
        "named": (one + messages.sync(), "2CZ"),
        "returning": (unnamed(text + " RETURNING id", b"1"), "12TDCZ"),
        "two in a batch": (unnamed("SELECT 7")[:-5] + one + messages.sync(), "12TDC2CZ"),
    }[way]
    client.send(sent)
    await held(proxy)
    assert hand_over.ids("s0") == hand_over.ids("s1") == set()
    go_on(hand_over)
    assert kinds(await client.until("Z")) == expected
    assert hand_over.ids("s1") == {1}
    assert repeats(http_port) == 1
    assert await client.value("SELECT count(*) FROM orders") == "1"


@pytest.mark.slow
@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(lambda key: ["BEGIN", f"INSERT INTO orders VALUES (1, {key})"], id="begun"),
        pytest.param(
            lambda key: [f"SELECT 1; INSERT INTO orders VALUES (1, {key})"], id="two statements"
        ),
        pytest.param(
            lambda key: [f"DO $$BEGIN INSERT INTO orders VALUES (1, {key}); END$$"], id="DO"
        ),
    ],
)
async def test_what_cannot_be_repeated_sees_the_error(sent, proxy, hand_over, raw, http_port):
    client = await connect(proxy, hand_over, raw)
    *before, last = sent(hand_over.keys[0])
    for text in before:
        await client.query(text)
    assert await client.value(last) in ("1", NOT_OWNED)
    assert repeats(http_port) == 0


@pytest.mark.slow
async def test_a_pipeline_sees_the_error(proxy, hand_over, raw, http_port):
    client = await connect(proxy, hand_over, raw)
    insert = f"INSERT INTO orders VALUES (1, {hand_over.keys[0]})"
    client.send(messages.query("SELECT 1"), messages.query(insert), messages.query("SELECT 2"))
    assert kinds(await client.until("Z")) == "TDCZ"
    said = await client.until("Z")
    assert said[0].fields()["C"] == NOT_OWNED
    await client.until("Z")
    assert repeats(http_port) == 0


@pytest.mark.slow
async def test_what_was_answered_in_part_sees_the_error(proxy, hand_over, raw, http_port):
    """Rows have gone out already when the last one is refused."""
    client = await connect(proxy, hand_over, raw)
    key, other = hand_over.keys[0], hand_over.others[0]
    with hand_over.guarded.connect("s0") as server:
        server.execute(PUT)
    insert = (
        f"SELECT put(n, CASE WHEN n < 2000 THEN {other} ELSE {key} END), repeat('x', 100)"
        " FROM generate_series(1, 2000) n"
    )
    said = await client.query(insert)
    assert said[-2].fields()["C"] == NOT_OWNED
    assert repeats(http_port) == 0


async def test_another_keys_row_is_refused_at_once(proxy, hand_over, raw, http_port):
    """Nothing newer will make it right: the session named another key."""
    client = await raw(proxy, options=f"-c shardrouter.key={hand_over.keys[0]}")
    stranger = hand_over.guarded.key_of("s1")
    hand_over.copying()
    hand_over.wait_served()
    fence(hand_over)
    assert await client.value(f"INSERT INTO orders VALUES (1, {stranger})") == NOT_OWNED
    assert repeats(http_port) == 0


async def test_it_is_sent_again_only_once(proxy, hand_over, raw, http_port):
    client = await connect(proxy, hand_over, raw)
    client.send(messages.query(f"INSERT INTO orders VALUES (1, {hand_over.keys[0]})"))
    await held(proxy)
    # A topology that lets it go on, though no guard does: somebody else fenced the slots anew.
    further = hand_over.topology.next().next()
    hand_over.guarded.install(further.with_motion(hand_over._motion(Motion.PAUSED)), "s0")
    hand_over.publish(hand_over.topology.next())
    said = await client.until("Z")
    assert said[0].fields()["C"] == NOT_OWNED
    assert repeats(http_port) == 1


@pytest.mark.slow
async def test_cancelled_or_left_while_it_waits(proxy, hand_over, raw):
    first = await connect(proxy, hand_over, raw)
    second = await raw(proxy, options=f"-c shardrouter.key={hand_over.keys[0]}")
    for client in (first, second):
        client.send(messages.query(f"INSERT INTO orders VALUES (1, {hand_over.keys[0]})"))
    states = lambda: [row["state"] for row in rows(proxy, "SHOW CLIENTS")]  # noqa: E731
    await eventually_async(lambda: states() == ["held", "held"])
    second.abort()
    await eventually_async(lambda: states() == ["held"])
    with psycopg.connect(proxy.dsn(), autocommit=True):
        pass  # others log in as ever
    go_on(hand_over)
    assert kinds(await first.until("Z")) == "CZ"
    assert hand_over.ids("s1") == {1}
    eventually(lambda: states() == ["idle"])
