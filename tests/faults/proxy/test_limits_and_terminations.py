"""Time limits, and backends that an administrator or the server ends."""

import time

import psycopg
import pytest

from shardrouter.wire import messages
from tests.plugins.fix_faults import Keep
from tests.plugins.fix_raw import ProxyLike, RawConnect
from tests.support.load import Connection, echo
from tests.support.proxy import ProxyProcess
from tests.support.raw_client import kinds


@pytest.fixture
def one(proxy_like: ProxyLike) -> ProxyProcess:
    return proxy_like(proxy_pool={"size": 1})


@pytest.fixture
def session(session_proxy: ProxyProcess) -> ProxyProcess:
    return session_proxy


@pytest.fixture
def limited(proxy_like: ProxyLike) -> ProxyProcess:
    return proxy_like(
        proxy_pool={"size": 1, "query_timeout_seconds": 0.5, "transaction_idle_seconds": 0.5}
    )


def pid_of(connection: Connection) -> int:
    [(pid,)] = connection.execute("SELECT pg_backend_pid()").fetchall()
    return pid


def terminate(proxy: ProxyProcess, pid: int) -> None:
    with proxy.cluster.connect("s0-p") as owner:
        assert owner.execute("SELECT pg_terminate_backend(%s, 5000)", [pid]).fetchone() == (True,)


def test_a_backend_ended_while_idle_is_not_seen(one: ProxyProcess, kept: Keep) -> None:
    client = kept(one.connect())
    for _ in range(10):
        terminate(one, pid_of(client))
        echo(client)


def test_a_backend_ended_while_idle_ends_a_client_in_session_pooling(
    session: ProxyProcess, kept: Keep
) -> None:
    client = kept(session.connect())
    terminate(session, pid_of(client))
    with pytest.raises(psycopg.errors.AdminShutdown):
        echo(client)
    with session.connect() as other:
        echo(other)


def test_a_backend_ended_in_a_transaction_is_told_once_and_nothing_is_done(
    one: ProxyProcess, kept: Keep
) -> None:
    """ProxySQL 5654: the statements behind must not run elsewhere, COMMIT must not succeed."""
    owner = kept(one.cluster.connect("s0-p"))
    owner.execute("CREATE TABLE ended (n int)")
    try:
        client = kept(one.connect())
        client.execute("BEGIN")
        client.execute("INSERT INTO ended VALUES (1)")
        terminate(one, pid_of(client))
        with pytest.raises(psycopg.errors.AdminShutdown):
            client.execute("INSERT INTO ended VALUES (2)")
        with pytest.raises(psycopg.OperationalError):
            client.execute("COMMIT")
        assert owner.execute("SELECT count(*) FROM ended").fetchone() == (0,)
        with one.connect() as other:
            echo(other)
    finally:
        owner.execute("DROP TABLE ended")


async def test_57p01_comes_once_then_the_end(one: ProxyProcess, raw: RawConnect) -> None:
    """PgDog 841."""
    client = await raw(one)
    await client.query("BEGIN")
    pid = await client.value("SELECT pg_backend_pid()")
    terminate(one, int(pid or 0))
    client.send(messages.query("SELECT 1"))
    found = []
    with pytest.raises(ConnectionError):
        while True:
            found.append(await client.read())
    assert [message.fields()["C"] for message in found if message.kind == "E"] == ["57P01"]
    assert kinds(found) == "E"


async def test_a_backend_ended_within_a_pipeline(one: ProxyProcess, raw: RawConnect) -> None:
    client = await raw(one)
    client.send(
        messages.parse("", "SELECT pg_terminate_backend(pg_backend_pid())"),
        messages.bind("", ""),
        messages.execute(""),
        messages.parse("", "SELECT 'behind'"),
        messages.bind("", ""),
        messages.execute(""),
        messages.sync(),
    )
    found = []
    with pytest.raises(ConnectionError):
        while True:
            found.append(await client.read())
    assert [message.fields()["C"] for message in found if message.kind == "E"] == ["57P01"]
    other = await raw(one)
    assert await other.value("SELECT 'alive'") == "alive"


def test_a_backend_ended_within_a_copy(one: ProxyProcess, kept: Keep) -> None:
    client = kept(one.connect())
    with pytest.raises(psycopg.OperationalError):
        with client.transaction():
            client.execute("CREATE TEMP TABLE copied (t text) ON COMMIT DROP")
            pid = pid_of(client)
            with client.cursor().copy("COPY copied FROM STDIN") as copy:
                copy.write(b"one\n")
                terminate(one, pid)
                for _ in range(1000):
                    copy.write(b"more\n" * 1000)
    with one.connect() as other:
        echo(other)


def test_a_statement_beyond_the_limit_is_cancelled(limited: ProxyProcess, kept: Keep) -> None:
    client = kept(limited.connect())
    began = time.monotonic()
    with pytest.raises(psycopg.errors.QueryCanceled):
        client.execute("SELECT pg_sleep(20)")
    assert time.monotonic() - began < 3
    echo(client)  # the same connection, and no cancel hits what comes next
    for _ in range(50):
        echo(client)


def test_the_limit_is_of_an_exchange(limited: ProxyProcess, kept: Keep) -> None:
    """PgDog 755: not of each message of it."""
    client = kept(limited.connect())
    with pytest.raises(psycopg.errors.QueryCanceled), client.pipeline():
        for _ in range(20):
            client.execute("SELECT pg_sleep(0.2)")
    echo(client)


def test_a_transaction_left_idle_is_ended(limited: ProxyProcess, kept: Keep) -> None:
    client = kept(limited.connect())
    client.execute("BEGIN")
    client.execute("SELECT 1")
    began = time.monotonic()
    with limited.connect() as other:  # the pool has one backend
        echo(other)
    assert time.monotonic() - began < 3
    with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
        client.execute("SELECT 1")


def test_limits_of_the_server_itself(one: ProxyProcess, kept: Keep) -> None:
    client = kept(one.connect())
    with pytest.raises(psycopg.errors.QueryCanceled), client.transaction():
        client.execute("SET LOCAL statement_timeout = '100ms'")
        client.execute("SELECT pg_sleep(5)")
    echo(client)
    client.execute("BEGIN")
    client.execute("SET LOCAL idle_in_transaction_session_timeout = '100ms'")
    with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
        for _ in range(20):
            time.sleep(0.2)
            client.execute("SELECT 1")
    with one.connect() as other:
        echo(other)


# PgDog 848, 801, 763: what a client may do in the middle of things


async def test_terminate_in_a_transaction(one: ProxyProcess, raw: RawConnect) -> None:
    for _ in range(3):
        client = await raw(one)
        await client.query("BEGIN")
        await client.close()
        other = await raw(one)
        assert await other.value("SELECT 'free'") == "free"
        other.abort()


async def test_begin_is_not_swallowed(one: ProxyProcess, raw: RawConnect) -> None:
    client, other = await raw(one), await raw(one)
    begun = await client.ask(
        messages.parse("", "BEGIN"),
        messages.bind("", ""),
        messages.execute(""),
        messages.sync(),
    )
    assert begun[-1].body == b"T"
    other.send(messages.query("SELECT 'waits'"))
    assert await client.value("SELECT 'mine'") == "mine"
    assert (await client.query("COMMIT"))[-1].body == b"I"
    assert [m.columns() for m in await other.until("Z") if m.kind == "D"] == [[b"waits"]]


async def test_a_suspended_portal_keeps_its_backend(one: ProxyProcess, raw: RawConnect) -> None:
    client, other = await raw(one), await raw(one)
    client.send(
        messages.parse("", "SELECT generate_series(1, 6)"),
        messages.bind("", ""),
        messages.execute("", 2),
        b"H\0\0\0\4",
    )
    assert kinds(await client.until("s")) == "12DDs"
    other.send(messages.query("SELECT 'waits'"))
    client.send(messages.execute("", 2), b"H\0\0\0\4")
    assert kinds(await client.until("s")) == "DDs"
    rest = await client.ask(messages.execute("", 0), messages.sync())
    assert kinds(rest) == "DDCZ"
    assert [m.columns() for m in await other.until("Z") if m.kind == "D"] == [[b"waits"]]
