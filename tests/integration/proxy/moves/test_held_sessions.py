"""Writers of slots that are handed over wait, and go on where the slots are then."""

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from shardrouter.wire import messages
from tests.plugins.fix_proxy import MakeProxy
from tests.plugins.fix_raw import RawConnect
from tests.support.eventually import eventually, eventually_async
from tests.support.hand_over import HandOver
from tests.support.proxy import ProxyProcess
from tests.support.proxy_census import rows
from tests.support.raw_client import kinds, send_cancel

INSERT = "INSERT INTO orders (id, user_id) VALUES (%s, %s)"


@pytest.fixture
def proxy(hand_over: HandOver, make_proxy: MakeProxy) -> ProxyProcess:
    return make_proxy()


@pytest.fixture
def aside() -> Any:
    """Run something in a thread: ``aside(call)`` gives its future."""
    with ThreadPoolExecutor(8) as executor:
        yield executor.submit


def by_key(proxy: ProxyProcess, key: int, **more: Any) -> psycopg.Connection[Any]:
    return proxy.connect(options=f"-c shardrouter.key={key}", **more)


def held(proxy: ProxyProcess) -> list[dict[str, Any]]:
    return [row for row in rows(proxy, "SHOW CLIENTS") if row["state"] == "held"]


def wait_held(proxy: ProxyProcess, count: int = 1) -> None:
    eventually(lambda: len(held(proxy)) == count)


def insert(connection: psycopg.Connection[Any], key: int, number: int, **how: Any) -> None:
    connection.execute(INSERT, [number, key], **how)


def is_waiting(*waiters: "Future[Any]") -> bool:
    return not any(waiter.done() for waiter in waiters)


@pytest.mark.parametrize("prepare", [False, True], ids=["unnamed", "named"])
def test_writers_wait_and_go_on_at_the_new_owner(proxy, hand_over, aside, prepare):
    key, other = hand_over.keys[0], hand_over.others[0]
    with by_key(proxy, key) as mine, by_key(proxy, other) as theirs:
        insert(mine, key, 1, prepare=prepare)
        hand_over.copying()
        insert(mine, key, 2, prepare=prepare)
        hand_over.pause()
        hand_over.wait_served()
        eventually(hand_over.are_writers_drained)
        waiter = aside(insert, mine, key, 3, prepare=prepare)
        wait_held(proxy)
        insert(theirs, other, 100)  # slots that stay are not concerned
        hand_over.commit()
        hand_over.wait_served()
        assert is_waiting(waiter)  # the new owner admits nothing yet
        hand_over.activate()
        waiter.result(10)
        assert held(proxy) == []
        hand_over.finish()
        insert(mine, key, 4, prepare=prepare)
        found = mine.execute("SELECT id FROM orders WHERE user_id = %s", [key]).fetchall()
        assert sorted(found) == [(1,), (2,), (3,), (4,)]
    assert {3, 4} <= hand_over.ids("s1")
    assert not {3, 4} & hand_over.ids("s0")


def test_a_retreat_sends_writers_back(proxy, hand_over, aside):
    key = hand_over.keys[0]
    with by_key(proxy, key) as mine:
        hand_over.copying()
        hand_over.pause()
        hand_over.wait_served()
        waiter = aside(insert, mine, key, 1)
        wait_held(proxy)
        hand_over.copying()
        waiter.result(10)
    assert hand_over.ids("s0") == {1}


def test_reads_go_on_while_the_slot_is_paused(proxy, hand_over):
    """At the owner's primary: a replica of the new owner may lack what came."""
    key = hand_over.keys[0]
    in_recovery = "SELECT pg_is_in_recovery()"
    with by_key(proxy, key) as writer:
        insert(writer, key, 1)
    reader = proxy.connect(options=f"-c shardrouter.key={key} -c shardrouter.role=replica")
    auto = proxy.connect(options=f"-c shardrouter.key={key} -c shardrouter.role=auto")
    with reader, auto:
        eventually(lambda: reader.execute(in_recovery).fetchone() == (True,))
        hand_over.copying()
        hand_over.pause()
        hand_over.wait_served()
        for step in (lambda: None, hand_over.commit):
            step()
            hand_over.wait_served()
            assert reader.execute(in_recovery).fetchone() == (False,)
            assert reader.execute("SELECT id FROM orders").fetchall() == [(1,)]
            auto.execute("BEGIN READ ONLY")
            assert auto.execute("SELECT id FROM orders").fetchall() == [(1,)]
            auto.execute("COMMIT")
        assert reader.execute("SHOW shardrouter.key").fetchone() == (str(key),)
        hand_over.activate()
        hand_over.wait_served()
        eventually(lambda: reader.execute(in_recovery).fetchone() == (True,))
        assert reader.execute("SELECT id FROM orders").fetchall() == [(1,)]


def test_sessions_of_the_whole_shard_wait_too(proxy, hand_over, aside):
    key = hand_over.others[0]
    with proxy.connect(shard="s0") as losing, proxy.connect(shard="s1") as gaining:
        hand_over.copying()
        hand_over.pause()
        hand_over.wait_served()
        waiter = aside(insert, losing, key, 1)
        wait_held(proxy)
        assert gaining.execute("SELECT 1").fetchone() == (1,)
        hand_over.commit()
        waiter.result(10)  # nothing stands in its way any more
        waiter = aside(gaining.execute, "SELECT 2")
        wait_held(proxy)
        hand_over.activate()
        waiter.result(10)


@pytest.mark.slow
def test_it_is_refused_when_it_takes_too_long(hand_over, make_proxy):
    proxy = make_proxy(rebalance={"hold_seconds": 0.3})
    key = hand_over.keys[0]
    with by_key(proxy, key) as mine:
        hand_over.copying()
        hand_over.pause()
        hand_over.wait_served()
        for prepare in (False, True):
            with pytest.raises(psycopg.OperationalError) as caught:
                insert(mine, key, 1, prepare=prepare)
            assert caught.value.sqlstate == "57P03"
            assert "move 7" in str(caught.value)
            assert f"epoch {hand_over.topology.epoch}" in str(caught.value)
        hand_over.copying()
        insert(mine, key, 1)
    assert hand_over.ids("s0") == {1}


@pytest.mark.slow
def test_logins_do_not_wait(proxy, hand_over):
    hand_over.copying()
    hand_over.pause()
    hand_over.wait_served()
    with by_key(proxy, hand_over.keys[0], application_name="never seen before") as mine:
        assert mine.execute("SHOW shardrouter.key").fetchone()


@pytest.mark.slow
async def test_who_leaves_or_cancels_leaves_nothing_behind(proxy, hand_over, raw: RawConnect):
    key = hand_over.keys[0]
    clients = [await raw(proxy, options=f"-c shardrouter.key={key}") for _ in range(3)]
    hand_over.copying()
    hand_over.pause()
    hand_over.wait_served()
    for number, client in enumerate(clients):
        client.send(messages.query(f"INSERT INTO orders VALUES ({number}, {key})"))
    await eventually_async(lambda: len(held(proxy)) == 3)
    clients[0].abort()
    await eventually_async(lambda: len(held(proxy)) == 2)
    await send_cancel(proxy.port, clients[1].pid, clients[1].key)
    said = await clients[1].until("Z")
    assert [message.fields()["C"] for message in said if message.kind == "E"] == ["57014"]
    hand_over.commit()
    hand_over.activate()
    assert kinds(await clients[2].until("Z")) == "CZ"
    assert await clients[1].value("SELECT count(*) FROM orders") == "1"
    assert hand_over.ids("s1") == {2}


async def test_a_pipeline_is_held_between_its_statements(proxy, hand_over, raw: RawConnect):
    """Also one that never lets its backend come free: else no cutover would get its turn."""
    key = hand_over.keys[0]
    client = await raw(proxy, options=f"-c shardrouter.key={key}")
    hand_over.copying()
    ahead = 20
    stop = threading.Event()
    sent = answered = 0

    async def write_ahead() -> None:
        nonlocal sent, answered
        while not stop.is_set() or answered < sent:
            while not stop.is_set() and sent - answered < ahead:
                sent += 1
                client.send(messages.query(f"INSERT INTO orders VALUES ({sent}, {key})"))
            if answered < sent:
                assert kinds(await client.until("Z")) == "CZ"
                answered += 1

    work = asyncio.gather(write_ahead())
    await eventually_async(lambda: answered > 100)
    await asyncio.to_thread(hand_over.pause_without_guards)
    await asyncio.to_thread(eventually, hand_over.are_writers_drained)
    await eventually_async(lambda: len(held(proxy)) == 1)
    await asyncio.to_thread(hand_over.commit)
    await asyncio.to_thread(hand_over.activate)
    before = answered
    await eventually_async(lambda: answered > before + 100)
    stop.set()
    await work
    old, new = hand_over.ids("s0"), hand_over.ids("s1")
    assert old | new == set(range(1, sent + 1))
    assert len(new - old) >= 100
    assert old <= new  # what was there before the cutover was carried over


async def test_a_batch_waits_whole(proxy, hand_over, raw: RawConnect):
    """With several statements and what was prepared before."""
    key = hand_over.keys[0]
    client = await raw(proxy, options=f"-c shardrouter.key={key}")
    text = f"INSERT INTO orders VALUES ($1::text::bigint, {key})"
    said = await client.ask(messages.parse("mine", text), messages.sync())
    assert kinds(said) == "1Z"
    hand_over.copying()
    hand_over.pause()
    hand_over.wait_served()
    for number in ("1", "2"):
        client.send(messages.bind("", "mine", [number.encode()]), messages.execute(""))
    client.send(messages.parse("", "SELECT 5"), messages.bind("", "", []), messages.execute(""))
    client.send(messages.sync())
    await eventually_async(lambda: len(held(proxy)) == 1)
    hand_over.commit()
    hand_over.activate()
    assert kinds(await client.until("Z")) == "2C2C12DCZ"
    assert hand_over.ids("s1") == {1, 2}
