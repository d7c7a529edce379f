"""A worker or the parent is killed or frozen under load: who notices, and what comes back."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest

from shardrouter.catalog import CatalogStore, catalog_engine
from shardrouter.topology import Epoch, Shard, Topology
from tests.plugins.fix_faults import Keep
from tests.plugins.fix_proxy import MakeProxy
from tests.support.cluster import Cluster
from tests.support.eventually import eventually
from tests.support.load import LOST, Load
from tests.support.process_memory import is_alive
from tests.support.proxy import ProxyProcess
from tests.support.proxy_census import counters, free_http_port, rows, total

CLIENTS = 10


@contextmanager
def named_loads(proxy: ProxyProcess) -> Iterator[dict[str, Load]]:
    """Clients with names, one load each, so that it is known who lost what."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(
                Load(lambda name=name: proxy.connect(application_name=name), 1).running()
            )
            for name in (f"client-{number}" for number in range(CLIENTS))
        }


def test_a_killed_worker_costs_its_own_clients_only(make_proxy: MakeProxy) -> None:
    port = free_http_port()
    proxy = make_proxy(shards=("s0",), proxy={"workers": 2, "http_listen": f"127.0.0.1:{port}"})
    with named_loads(proxy) as loads:
        for load in loads.values():
            load.wait_for_more(5)
        before = counters(port)
        victim = rows(proxy, "SHOW WORKERS")[0]
        theirs = {
            row["application_name"]
            for row in rows(proxy, "SHOW CLIENTS")
            if row["worker"] == victim["worker"]
        }
        os.kill(int(victim["pid"]), signal.SIGKILL)
        killed_at = time.monotonic()
        with proxy.connect() as connection:  # at once, whatever the kernel's choice of a worker
            connection.execute("SELECT 1")
        for load in loads.values():
            load.wait_for_more(5)
        eventually(lambda: len(proxy.worker_pids()) == 2)
        eventually(lambda: {row["state"] for row in rows(proxy, "SHOW WORKERS")} == {"serving"})
        after = counters(port)
    for name, load in loads.items():
        assert load.errors() == ({LOST: 1} if name in theirs else {}), load.failures()
    back = [o.at - killed_at for name in theirs for o in loads[name].outcomes if o.at > killed_at]
    assert max(b - a for a, b in zip([0.0, *sorted(back)], sorted(back), strict=False)) < 10
    assert 0 < len(theirs - {None}) < CLIENTS
    backwards = {key: value for key, value in before.items() if after.get(key, 0) < value}
    assert backwards == {}
    assert total(after, "queries_total") > total(before, "queries_total") > 0


def test_the_places_of_a_killed_worker_come_free(make_proxy: MakeProxy, kept: Keep) -> None:
    """The bound holds over all workers: what the dead one held is given to the others."""
    proxy = make_proxy(shards=("s0",), proxy={"workers": 2}, proxy_pool={"size": 2})
    held: dict[str, list[psycopg.Connection]] = {}
    for number in range(40):
        connection = kept(proxy.connect(application_name=f"holder-{number}"))
        row = next(
            r for r in rows(proxy, "SHOW CLIENTS") if r["application_name"] == f"holder-{number}"
        )
        if held.get(row["worker"]):
            connection.close()
            continue
        held[row["worker"]] = [connection]
        if len(held) == 2:
            break
    workers = {row["worker"]: int(row["pid"]) for row in rows(proxy, "SHOW WORKERS")}
    (dead, [lost]), (_, [stays]) = held.items()
    for connection in (lost, stays):
        connection.execute("BEGIN")
        connection.execute("SELECT 1")
    os.kill(workers[dead], signal.SIGKILL)
    with proxy.connect() as connection:  # its place, while the other transaction keeps its own
        assert connection.execute("SELECT 2").fetchone() == (2,)
        stays.execute("COMMIT")
        stays.close()
        with pytest.raises(psycopg.OperationalError):
            lost.execute("SELECT 1")


@pytest.mark.slow
def test_workers_leave_when_the_parent_is_killed(make_proxy: MakeProxy, kept: Keep) -> None:
    proxy = make_proxy(shards=("s0",), proxy={"workers": 2, "drain_seconds": 5})
    workers = proxy.worker_pids()
    busy, idle = kept(proxy.connect()), kept(proxy.connect())
    busy.execute("BEGIN")
    busy.execute("SELECT 1")
    os.kill(proxy.pid, signal.SIGKILL)
    with pytest.raises(psycopg.OperationalError, match=r"administrator command|parent has gone"):
        eventually(lambda: idle.execute("SELECT 1") and None, 10)
    assert busy.execute("SELECT 2").fetchone() == (2,)  # a transaction may end
    busy.execute("COMMIT")
    eventually(lambda: not any(is_alive(pid) for pid in workers), 10)


@pytest.mark.slow
def test_workers_leave_though_a_transaction_does_not_end(make_proxy: MakeProxy, kept: Keep) -> None:
    proxy = make_proxy(shards=("s0",), proxy={"workers": 2, "drain_seconds": 1})
    workers = proxy.worker_pids()
    busy = kept(proxy.connect())
    busy.execute("BEGIN")
    busy.execute("SELECT 1")
    os.kill(proxy.pid, signal.SIGKILL)
    eventually(lambda: not any(is_alive(pid) for pid in workers), 10)
    with pytest.raises(psycopg.OperationalError, match="administrator command"):
        busy.execute("SELECT 2")


def publish_swapped(cluster: Cluster) -> None:
    """Publish a topology in which the two shards have changed their servers."""
    one, two = cluster.topology.shards
    shards = (Shard(one.id, two.nodes), Shard(two.id, one.nodes))
    engine = catalog_engine(cluster.catalog_dsn)
    try:
        CatalogStore(engine).publish(
            Topology(Epoch(2), shards, cluster.topology.owners),
            expected=Epoch(1),
            actor="tests",
            reason="the shards change places",
        )
    finally:
        engine.dispose()


def test_a_worker_frozen_beyond_its_lease_routes_nothing_stale(
    make_proxy: MakeProxy, cluster: Cluster, kept: Keep
) -> None:
    """It wakes with a lease that is over: what it had chosen before counts no more."""
    proxy = make_proxy(
        catalog={"lease_seconds": 3, "poll_seconds": 0.2, "connect_timeout_seconds": 2}
    )
    connection = kept(proxy.connect(shard="s0"))
    port_before = connection.execute("SHOW port").fetchone()
    [worker] = proxy.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    try:
        time.sleep(3.2)  # longer than the lease: whoever publishes need not wait for it
        publish_swapped(cluster)
    finally:
        os.kill(worker, signal.SIGCONT)
    seen = set()
    for _ in range(20):
        try:
            seen.add(connection.execute("SHOW port").fetchone())
        except psycopg.OperationalError as error:
            assert error.sqlstate == "57P03", error
        time.sleep(0.05)
    assert port_before not in seen
    assert seen


@pytest.mark.slow
def test_a_frozen_parent_is_missed_only_by_pools_that_grow(
    make_proxy: MakeProxy, kept: Keep
) -> None:
    proxy = make_proxy(shards=("s0",), proxy_pool={"size": 4, "checkout_timeout_seconds": 1})
    with Load(proxy.connect, 1).running() as load:
        load.wait_for_more()
        proxy.signal(signal.SIGSTOP)
        try:
            load.wait_for_more(100)
            held = [kept(proxy.connect()) for _ in range(2)]
            with pytest.raises(psycopg.OperationalError) as refused:
                for connection in held:  # there is one backend open, and the bound is the parent's
                    connection.execute("BEGIN")
                    connection.execute("SELECT 1")
            assert refused.value.sqlstate == "53300"
            for connection in held:
                connection.close()
        finally:
            proxy.signal(signal.SIGCONT)
        load.wait_for_more()
    for _ in range(3):
        with proxy.connect() as connection:
            connection.execute("SELECT 1")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_worker_that_hangs_is_replaced(make_proxy: MakeProxy) -> None:
    proxy = make_proxy(shards=("s0",))
    [worker] = proxy.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    proxy.wait_for_log("worker_hangs", 60)
    eventually(lambda: proxy.worker_pids() not in ([worker], []))
    with proxy.connect() as connection:
        connection.execute("SELECT 1")
