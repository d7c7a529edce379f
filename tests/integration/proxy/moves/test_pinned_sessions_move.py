"""Sessions that keep a backend: held before they begin anew, ended when their rows went away."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import psycopg
import pytest

from tests.plugins.fix_proxy import MakeProxy
from tests.support.eventually import eventually
from tests.support.hand_over import HandOver
from tests.support.proxy import ProxyProcess
from tests.support.proxy_census import rows

INSERT = "INSERT INTO orders (id, user_id) VALUES (%s, %s)"
PINS = ("CREATE TEMP TABLE mine (a int)", "LISTEN news")


@pytest.fixture(params=["transaction", "session"])
def proxy(request, hand_over: HandOver, make_proxy: MakeProxy) -> ProxyProcess:
    return make_proxy(proxy_pool={"mode": request.param})


@pytest.fixture
def aside() -> Any:
    with ThreadPoolExecutor(8) as executor:
        yield executor.submit


def by_key(proxy: ProxyProcess, key: int) -> psycopg.Connection[Any]:
    connection = proxy.connect(options=f"-c shardrouter.key={key}")
    connection.execute(PINS[0])
    return connection


def held(proxy: ProxyProcess) -> int:
    return sum(row["state"] == "held" for row in rows(proxy, "SHOW CLIENTS"))


def clients(proxy: ProxyProcess) -> int:
    return len(rows(proxy, "SHOW CLIENTS"))


def sqlstate_of(call: Any) -> str | None:
    with pytest.raises(psycopg.Error) as caught:
        call()
    return caught.value.sqlstate


def test_at_rest_it_is_ended_with_the_reason(proxy, hand_over):
    """Else it would go on reading a copy that nobody keeps current."""
    with suppress(psycopg.Error), by_key(proxy, hand_over.keys[0]) as gone:
        with by_key(proxy, hand_over.others[0]) as stays:
            hand_over.copying()
            hand_over.pause()
            hand_over.wait_served()
            assert clients(proxy) == 2
            hand_over.commit()
            eventually(lambda: clients(proxy) == 1)
            with pytest.raises(psycopg.Error) as caught:
                gone.execute("SELECT 1")
            assert caught.value.sqlstate == "57P01"
            assert "on shard s1 now" in str(caught.value)
            assert f"epoch {hand_over.topology.epoch}" in str(caught.value)
            assert stays.execute("TABLE mine").fetchall() == []


@pytest.mark.parametrize("prepare", [False, True])
def test_what_it_begins_is_held_and_goes_on_after_a_retreat(proxy, hand_over, aside, prepare):
    key = hand_over.keys[0]
    with by_key(proxy, key) as mine:
        mine.execute(INSERT, [1, key], prepare=prepare)
        hand_over.copying()
        mine.execute(INSERT, [2, key], prepare=prepare)
        hand_over.pause()
        hand_over.wait_served()
        eventually(hand_over.are_writers_drained)
        waiter = aside(mine.execute, INSERT, [3, key], prepare=prepare)
        eventually(lambda: held(proxy) == 1)
        hand_over.copying()
        waiter.result(10)
        assert mine.execute("TABLE mine").fetchall() == []
    assert hand_over.ids("s0") == {1, 2, 3}


@pytest.mark.slow
def test_what_was_held_is_refused_with_the_end_of_the_session(proxy, hand_over, aside):
    key = hand_over.keys[0]
    with suppress(psycopg.Error), by_key(proxy, key) as mine:
        hand_over.copying()
        hand_over.pause()
        hand_over.wait_served()
        waiter = aside(mine.execute, INSERT, [1, key])
        eventually(lambda: held(proxy) == 1)
        hand_over.commit()
        assert sqlstate_of(lambda: waiter.result(10)) == "57P01"
    assert hand_over.ids("s0") == hand_over.ids("s1") == set()


@pytest.mark.slow
def test_a_transaction_is_finished_first(proxy, hand_over):
    key = hand_over.keys[0]
    with suppress(psycopg.Error), by_key(proxy, key) as mine:
        hand_over.copying()
        mine.execute("BEGIN")
        mine.execute(INSERT, [1, key])
        hand_over.pause_without_guards()
        hand_over.wait_served()
        assert not hand_over.are_writers_drained()
        mine.execute(INSERT, [2, key])
        hand_over.commit()
        hand_over.wait_served()
        assert len(mine.execute("SELECT id FROM orders").fetchall()) == 2
        mine.execute("COMMIT")
        eventually(lambda: clients(proxy) == 0)
        proxy.wait_for_log("on shard s1 now")  # libpq may have read it with the COMMIT
        assert sqlstate_of(lambda: mine.execute("SELECT 1")) in (None, "57P01")
    assert hand_over.ids("s0") == {1, 2}


@pytest.mark.slow
def test_a_held_session_can_be_cancelled_and_goes_on(proxy, hand_over, aside):
    key = hand_over.keys[0]
    with by_key(proxy, key) as mine:
        hand_over.copying()
        hand_over.pause()
        hand_over.wait_served()
        for prepare in (False, True):
            waiter = aside(mine.execute, INSERT, [1, key], prepare=prepare)
            eventually(lambda: held(proxy) == 1)
            mine.cancel_safe(timeout=10)
            assert sqlstate_of(lambda w=waiter: w.result(10)) == "57014"
        hand_over.copying()
        assert mine.execute("TABLE mine").fetchall() == []


@pytest.mark.slow
def test_it_is_refused_when_it_takes_too_long(hand_over, make_proxy):
    proxy = make_proxy(rebalance={"hold_seconds": 0.3})
    key = hand_over.keys[0]
    with by_key(proxy, key) as mine:
        hand_over.copying()
        hand_over.pause()
        hand_over.wait_served()
        for prepare in (False, True):
            assert (
                sqlstate_of(lambda p=prepare: mine.execute(INSERT, [1, key], prepare=p)) == "57P03"
            )
        hand_over.copying()
        mine.execute(INSERT, [1, key])
        assert mine.execute("TABLE mine").fetchall() == []


@pytest.mark.slow
def test_without_a_lease_it_may_not_go_on(hand_over, make_proxy):
    """Whoever cannot hear that the rows went away must not read them."""
    times = {"lease_seconds": 3, "connect_timeout_seconds": 2, "statement_timeout_seconds": 2}
    proxy = make_proxy(catalog={"dsn": hand_over.cluster.catalog_dsn, **times})
    catalog = hand_over.cluster.fleet.catalog
    with by_key(proxy, hand_over.keys[0]) as mine, catalog.connect("postgres") as server:
        name = hand_over.cluster.catalog_database
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        server.execute(end, [name])
        try:
            eventually(lambda: rows(proxy, "SHOW LEASES")[0]["problem"] is not None)
            eventually(lambda: is_refused(mine))
            assert sqlstate_of(lambda: mine.execute("TABLE mine")) == "57P03"
        finally:
            server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        eventually(lambda: not is_refused(mine))
        assert mine.execute("TABLE mine").fetchall() == []


def is_refused(connection: psycopg.Connection[Any]) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError as error:
        return error.sqlstate == "57P03"
    return False


@pytest.mark.slow
def test_new_sessions_of_session_pooling_wait_for_their_shard(hand_over, make_proxy, aside):
    proxy = make_proxy(proxy_pool={"mode": "session"})
    key = hand_over.keys[0]
    hand_over.copying()
    hand_over.pause()
    hand_over.wait_served()
    waiter = aside(proxy.connect, options=f"-c shardrouter.key={key}")
    held_moves = lambda: rows(proxy, "SHOW MOVES")[0]["held"]  # noqa: E731
    eventually(lambda: held_moves() == "1")
    hand_over.commit()
    hand_over.activate()
    with waiter.result(10) as mine:
        mine.execute(INSERT, [1, key])
    assert hand_over.ids("s1") == {1}
