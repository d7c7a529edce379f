"""Many clients are held, in rows and out of them; what they cost, and that all come through."""

import asyncio
import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from shardrouter.wire import messages
from tests.plugins.fix_proxy import MakeProxy
from tests.plugins.fix_raw import RawConnect
from tests.support.eventually import eventually, eventually_async
from tests.support.proxy import ProxyProcess
from tests.support.proxy_census import rows
from tests.support.raw_client import kinds

MANY = 1000
QUIET_SECONDS = 1.0
TICKS = os.sysconf("SC_CLK_TCK")


@pytest.fixture
def aside() -> Any:
    with ThreadPoolExecutor(8) as executor:
        yield executor.submit


def states(proxy: ProxyProcess) -> Counter[str]:
    return Counter(row["state"] for row in rows(proxy, "SHOW CLIENTS"))


def by_key(key: int) -> dict[str, str]:
    return {"options": f"-c shardrouter.key={key}"}


def insert(number: int, key: int) -> bytes:
    return messages.query(f"INSERT INTO orders VALUES ({number}, {key})")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@pytest.mark.timeout(180)
async def test_a_thousand_costs_nothing_and_comes_through(hand_over, make_proxy, raw: RawConnect):
    proxy = make_proxy(
        proxy={"max_clients": 2 * MANY}, rebalance={"hold_seconds": 60}, proxy_pool={"size": 10}
    )
    clients = [await raw(proxy, **by_key(hand_over.keys[n % 8])) for n in range(MANY)]
    hand_over.copying()
    hand_over.pause()
    hand_over.wait_served()
    for number, client in enumerate(clients):
        client.send(insert(number, hand_over.keys[number % 8]))
    await eventually_async(lambda: rows(proxy, "SHOW MOVES")[0]["held"] == str(MANY), 30)
    [worker] = proxy.worker_pids()
    before, began = cpu_seconds(worker), time.monotonic()
    await eventually_async(lambda: time.monotonic() - began > QUIET_SECONDS)
    share = (cpu_seconds(worker) - before) / (time.monotonic() - began)
    assert share < 0.2
    await asyncio.to_thread(hand_over.commit)
    await asyncio.to_thread(hand_over.activate)
    for client in clients:
        assert kinds(await client.until("Z")) == "CZ"
    assert hand_over.ids("s1") == set(range(MANY))
    assert rows(proxy, "SHOW MOVES")[0]["held"] == "0"


@pytest.mark.slow
async def test_a_held_client_is_read_only_so_far(hand_over, make_proxy, raw: RawConnect):
    """What it sends meanwhile waits in its own socket."""
    proxy = make_proxy()
    key = hand_over.keys[0]
    client = await raw(proxy, **by_key(key))
    hand_over.copying()
    hand_over.pause()
    hand_over.wait_served()
    note, count = "x" * 60_000, 400
    for number in range(count):
        client.send(messages.query(f"INSERT INTO orders VALUES ({number}, {key}, '{note}')"))
    await eventually_async(lambda: states(proxy)["held"] == 1)
    await eventually_async(lambda: client.writer.transport.get_write_buffer_size() > 0)
    hand_over.commit()
    hand_over.activate()
    for _ in range(count):
        assert kinds(await client.until("Z")) == "CZ"
    assert hand_over.ids("s1") == set(range(count))


@pytest.mark.slow
def test_who_waits_for_a_backend_is_held_too(hand_over, make_proxy: MakeProxy, aside):
    """It had chosen its shard already; it must not begin there after the handover began."""
    proxy = make_proxy(proxy_pool={"size": 1, "checkout_timeout_seconds": 30})
    key, other = hand_over.keys[0], hand_over.others[0]
    with (
        proxy.connect(**by_key(other)) as blocker,
        proxy.connect(**by_key(key)) as moves,
        proxy.connect(**by_key(other)) as stays,
    ):
        blocker.execute("BEGIN")
        blocker.execute("SELECT 1")
        waiters = [
            aside(connection.execute, "INSERT INTO orders VALUES (%s, %s)", [number, of])
            for number, (connection, of) in enumerate(((moves, key), (stays, other)))
        ]
        eventually(lambda: states(proxy)["waiting"] == 2)
        hand_over.copying()
        hand_over.pause()
        eventually(lambda: states(proxy) == {"in transaction": 1, "held": 1, "waiting": 1})
        eventually(hand_over.are_writers_drained)
        hand_over.commit()
        hand_over.activate()
        waiters[0].result(10)
        assert not waiters[1].done()
        blocker.execute("COMMIT")
        waiters[1].result(10)
    assert (hand_over.ids("s0"), hand_over.ids("s1")) == ({1}, {0})


def test_who_waits_for_a_shard_that_lost_its_slot_goes_to_the_other(hand_over, make_proxy, aside):
    """Also when the proxy heard of the handover only after it was over."""
    proxy = make_proxy(proxy_pool={"size": 1, "checkout_timeout_seconds": 30})
    key = hand_over.keys[0]
    with proxy.connect(shard="s0") as blocker, proxy.connect(**by_key(key)) as reader:
        blocker.execute("BEGIN")
        blocker.execute("SELECT 1")
        waiter = aside(lambda: reader.execute("SELECT current_setting('port')").fetchone())
        eventually(lambda: states(proxy)["waiting"] == 1)
        owners = hand_over.topology.owners_with(hand_over.slots, hand_over.topology.shards[1].id)
        hand_over.publish(hand_over.topology.next(owners=owners))
        port = str(hand_over.cluster.fleet.node("s1-p").port)
        assert waiter.result(10) == (port,)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_routers_tell_what_is_drained(workers, hand_over, make_proxy, aside):
    proxy = make_proxy(proxy={"workers": workers})
    key, other = hand_over.keys[0], hand_over.others[0]
    writer, reader = (proxy.connect(**by_key(key)) for _ in range(2))
    whole = proxy.connect(shard="s0")
    stays = proxy.connect(**by_key(other))
    with writer, reader, whole, stays:
        for connection in (writer, reader, whole, stays):
            connection.execute("BEGIN")
            connection.execute("SELECT 1")
        assert len(hand_over.routers()) == workers
        hand_over.copying()
        hand_over.wait_served()
        assert eventually(hand_over.are_writers_drained)  # nothing is paused
        assert not hand_over.are_readers_drained()
        hand_over.pause_without_guards()
        hand_over.wait_served()
        assert not hand_over.are_writers_drained()
        for connection in (writer, reader):
            connection.execute("COMMIT")
        eventually(hand_over.are_readers_drained)
        assert not hand_over.are_writers_drained()
        whole.execute("COMMIT")
        eventually(hand_over.are_writers_drained)
        stays.execute("COMMIT")


def test_it_is_told_quickly(hand_over, make_proxy):
    """Writers wait for it: from the publication to all routers' acknowledgement."""
    make_proxy()
    hand_over.copying()
    hand_over.wait_served()
    took = []
    for step in (hand_over.pause_without_guards, hand_over.copying) * 5:
        step()
        began = time.monotonic()
        while not hand_over.are_writers_drained():
            assert time.monotonic() - began < 5
        took.append(time.monotonic() - began)
    assert sorted(took)[len(took) // 2] < 0.1


@pytest.mark.slow
def test_a_worker_that_dies_is_not_waited_for_longer_than_its_lease(hand_over, make_proxy):
    proxy = make_proxy(
        catalog={
            "dsn": hand_over.cluster.catalog_dsn,
            "lease_seconds": 3,
            "connect_timeout_seconds": 2,
            "statement_timeout_seconds": 2,
        }
    )
    key = hand_over.keys[0]
    with proxy.connect(**by_key(key)) as writer:
        writer.execute("BEGIN")
        writer.execute("SELECT 1")
        hand_over.copying()
        hand_over.pause_without_guards()
        hand_over.wait_served()
        assert not hand_over.are_writers_drained()
        os.kill(proxy.worker_pids()[0], 9)
        eventually(hand_over.are_writers_drained, 20)
        with pytest.raises(psycopg.OperationalError):
            writer.execute("SELECT 1")
