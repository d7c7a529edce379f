"""Many messages under way at once: nothing deadlocks, nothing is done twice or by halves."""

from collections.abc import Iterator
from typing import Any, Final

import psycopg
import pytest

from shardrouter.wire import messages
from tests.support.proxy import USER, ProxyProcess
from tests.support.wire_script import Wire
from tests.support.wire_words import FLUSH, SYNC, run

MANY: Final = 10_000
TABLE: Final = "pipelined"


@pytest.fixture(params=["transaction", "session"])
def either(
    request: pytest.FixtureRequest, proxy: ProxyProcess, session_proxy: ProxyProcess
) -> Iterator[ProxyProcess]:
    """The proxies of both modes, in turn; with a table of one unique column."""
    chosen = proxy if request.param == "transaction" else session_proxy
    with chosen.cluster.connect("s0-p") as direct:
        direct.execute(f"CREATE TABLE {TABLE} (a int PRIMARY KEY)".encode())
        yield chosen
        direct.execute(f"DROP TABLE {TABLE}".encode())


@pytest.fixture
def wire(either: ProxyProcess) -> Iterator[Wire]:
    with Wire(("127.0.0.1", either.port)) as connected:
        connected.start({"user": USER, "database": either.cluster.database})
        yield connected


def rows(proxy: ProxyProcess) -> list[int]:
    """Return what is in the table, as another connection sees it."""
    with proxy.cluster.connect("s0-p") as direct:
        found = direct.execute(f"SELECT a FROM {TABLE} ORDER BY a".encode()).fetchall()
    return [row[0] for row in found]


INSERT: Final = messages.parse("", f"INSERT INTO {TABLE} VALUES ($1)")


def test_an_implicit_transaction_is_all_or_nothing(either: ProxyProcess, wire: Wire):
    wire.exchange(INSERT + run("", b"1") + run("", b"1") + run("", b"2") + SYNC)
    said = wire.until("Z")
    assert "".join(kind for kind, _ in said) == "12C2EZ"
    assert rows(either) == []


@pytest.mark.parametrize("is_flushed", [True, False])
def test_a_row_is_there_when_the_server_is_ready(
    either: ProxyProcess, wire: Wire, is_flushed: bool
):
    for number in range(50):
        wire.exchange(INSERT + messages.describe(b"S", "") + FLUSH)
        assert [kind for kind, _ in wire.until("n")] == ["1", "t", "n"]
        wire.exchange(run("", str(number).encode()) + (FLUSH if is_flushed else b""))
        if is_flushed:
            assert [kind for kind, _ in wire.until("C")] == ["2", "C"]
        wire.exchange(SYNC)
        wire.until("Z")
        assert rows(either) == list(range(number + 1))


def test_flush_keeps_the_backend(either: ProxyProcess, wire: Wire):
    """Two clients flush in turn; neither sees anything of the other."""
    with Wire(("127.0.0.1", either.port)) as other:
        other.start({"user": USER, "database": either.cluster.database})
        for number in range(20):
            for client, name in ((wire, b"mine"), (other, b"yours")):
                tag = name + str(number).encode()
                client.exchange(messages.parse("", "SELECT $1::text") + run("", tag) + FLUSH)
            for client, name in ((wire, b"mine"), (other, b"yours")):
                tag = name + str(number).encode()
                said = client.until("C")
                assert messages.data_row([tag])[5:] in [body for _, body in said]
        for client in (wire, other):
            client.exchange(SYNC)
            client.until("Z")


def test_ten_thousand_queries_at_once(wire: Wire):
    text = messages.parse("", "SELECT $1::int")
    parts = [text + run("", str(number).encode()) + SYNC for number in range(MANY)]
    wire.exchange(b"".join(parts))
    values = [body[6:] for kind, body in wire.until("Z" * MANY) if kind == "D"]
    assert values == [str(number).encode() for number in range(MANY)]


def test_ten_thousand_named_ones_that_fail_now_and_then(wire: Wire):
    wire.exchange(messages.parse("s", "SELECT 10 / $1::int") + SYNC)
    wire.until("Z")
    numbers = [number % 7 for number in range(MANY)]
    wire.exchange(b"".join(run("s", str(number).encode()) + SYNC for number in numbers))
    said = wire.until("Z" * MANY)
    assert sum(kind == "E" for kind, _ in said) == numbers.count(0)
    values = [int(body[6:]) for kind, body in said if kind == "D"]
    assert values == [10 // number for number in numbers if number]


def test_one_pipeline_of_ten_thousand_without_a_sync(wire: Wire):
    parts = [messages.parse("", "SELECT $1::int")]
    parts += [run("", str(number).encode()) for number in range(MANY)]
    wire.exchange(b"".join(parts) + SYNC)
    said = wire.until("Z")
    assert [int(body[6:]) for kind, body in said if kind == "D"] == list(range(MANY))


def test_who_does_not_read_is_not_read(wire: Wire):
    """The proxy stops to read when answers pile up: what was sent waits in the sockets."""
    query = messages.query(f"SELECT repeat('x', 50000) /* {'long ' * 4000} */")
    wire.sock.setblocking(False)
    sent = 0
    try:
        while sent < 64 * 1024 * 1024:
            sent += wire.sock.send(query)
    except BlockingIOError:
        pass
    assert sent < 64 * 1024 * 1024
    whole = sent // len(query)
    said = wire.until("Z" * whole)
    assert sum(kind == "D" for kind, _ in said) >= whole


def test_pipeline_of_psycopg(either: ProxyProcess):
    with psycopg.connect(either.dsn(), autocommit=True) as connection:
        with connection.pipeline() as pipeline, connection.cursor() as cursor:
            for number in range(100):
                cursor.execute(f"INSERT INTO {TABLE} VALUES (%s)".encode(), [number])
            pipeline.sync()
            with pytest.raises(psycopg.errors.UniqueViolation):
                cursor.execute(f"INSERT INTO {TABLE} VALUES (5)".encode())
                pipeline.sync()
            pipeline.sync()
            cursor.execute(f"SELECT count(*) FROM {TABLE}".encode())
            assert cursor.fetchone() == (100,)
        assert rows(either) == list(range(100))


def test_prepared_statements_in_a_pipeline_of_psycopg(either: ProxyProcess):
    def values(connection: psycopg.Connection[Any]) -> list[int]:
        with connection.pipeline():
            cursors = [
                connection.execute("SELECT %s::int + 1", [n], prepare=True) for n in range(50)
            ]
            return [row[0] for cursor in cursors for row in cursor.fetchall()]

    with psycopg.connect(either.dsn(), autocommit=True) as connection:
        for _ in range(3):
            assert values(connection) == list(range(1, 51))
