"""No backend is left: in the pool, or on the server because others have its connections."""

import threading
import time

import psycopg
import pytest

from tests.plugins.fix_faults import Keep
from tests.plugins.fix_proxy import MakeProxy
from tests.plugins.fix_raw import ProxyLike
from tests.support.cluster import Cluster
from tests.support.eventually import eventually
from tests.support.load import Load, echo
from tests.support.proxy import ProxyProcess
from tests.support.proxy_census import rows

DEADLINE_SECONDS = 1.0
FULL = r"reserved|too many"


@pytest.fixture
def proxy(proxy_like: ProxyLike) -> ProxyProcess:
    return proxy_like(proxy_pool={"size": 2, "checkout_timeout_seconds": DEADLINE_SECONDS})


def hold(proxy: ProxyProcess, kept: Keep, count: int = 2) -> list[psycopg.Connection]:
    held = [kept(proxy.connect()) for _ in range(count)]
    for connection in held:
        connection.execute("BEGIN")
        connection.execute("SELECT 1")
    return held


def test_53300_after_the_deadline_and_the_connection_lives(proxy: ProxyProcess, kept: Keep) -> None:
    client = kept(proxy.connect())
    held = hold(proxy, kept)
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(psycopg.OperationalError) as refused:
            client.execute("SELECT 1")
        assert refused.value.sqlstate == "53300"
        assert "SHOW POOLS" in (refused.value.diag.message_hint or "")
        assert DEADLINE_SECONDS <= time.monotonic() - began < DEADLINE_SECONDS + 2
    held[0].execute("COMMIT")
    echo(client)


def test_a_pipeline_refused_by_the_pool_is_refused_whole(proxy: ProxyProcess, kept: Keep) -> None:
    """PgDog 759: the rest of it must not be run when a backend comes free."""
    client, looker = kept(proxy.connect()), kept(proxy.cluster.connect("s0-p"))
    looker.execute("CREATE TABLE refused (n int)")
    try:
        held = hold(proxy, kept)
        with pytest.raises(psycopg.OperationalError) as refused, client.pipeline():
            for number in range(5):
                client.execute("INSERT INTO refused VALUES (%s)", [number])
        assert refused.value.sqlstate == "53300"
        for connection in held:
            connection.execute("COMMIT")
        for _ in range(5):
            echo(client)
        assert looker.execute("SELECT count(*) FROM refused").fetchone() == (0,)
    finally:
        looker.execute("DROP TABLE refused")


def test_who_waits_longest_is_served_first(proxy: ProxyProcess, kept: Keep) -> None:
    held = hold(proxy, kept)
    clients = [kept(proxy.connect()) for _ in range(6)]
    served: list[tuple[object, int]] = []

    def ask(number: int) -> None:
        # The one backend's clock: threads here may be told out of order.
        row = clients[number].execute("SELECT clock_timestamp()").fetchone()
        assert row is not None
        served.append((row[0], number))

    threads = []
    for number in range(len(clients)):
        threads.append(threading.Thread(target=ask, args=(number,)))
        threads[-1].start()
        eventually(lambda n=number: int(rows(proxy, "SHOW POOLS")[0]["waiting"] or 0) == n + 1)
    held[0].execute("COMMIT")
    for thread in threads:
        thread.join(10)
    assert [number for _, number in sorted(served)] == list(range(len(clients)))


def test_it_heals_after_a_storm(proxy: ProxyProcess, kept: Keep) -> None:
    held = hold(proxy, kept)
    with Load(proxy.connect, 12).running() as load:
        eventually(lambda: load.errors()["53300"] >= 12)
        for connection in held:
            connection.execute("COMMIT")
        load.wait_for_more(30)
        failed = len(load.failures())
        load.wait_for_more(200)
        assert len(load.failures()) == failed
    assert set(load.errors()) == {"53300"}


@pytest.mark.slow
def test_others_have_all_connections_of_the_server(
    make_proxy: MakeProxy, fragile: Cluster, kept: Keep
) -> None:
    """The server's own words are told, and the pool heals when they go."""
    with fragile.connect("s0-p") as owner:
        owner.execute("CREATE ROLE commoner LOGIN")
        [(most,)] = owner.execute("SHOW max_connections").fetchall()
    proxy = make_proxy(
        on=fragile,
        shards=("s0",),
        proxy_pool={"checkout_timeout_seconds": DEADLINE_SECONDS, "connect_timeout_seconds": 1},
    )
    others = []
    try:
        with pytest.raises(psycopg.OperationalError, match=FULL):
            for _ in range(int(most)):
                others.append(kept(fragile.connect("s0-p", user="commoner")))  # noqa: PERF401
        with pytest.raises(psycopg.OperationalError, match=FULL):
            proxy.connect(user="commoner")
        for other in others:
            other.close()
        eventually(lambda: served(proxy))
    finally:
        for other in others:
            other.close()
        with fragile.connect("s0-p") as owner:
            owner.execute("DROP ROLE commoner")


def served(proxy: ProxyProcess) -> bool:
    try:
        with proxy.connect(user="commoner") as connection:
            echo(connection)
    except psycopg.OperationalError:
        return False
    return True
