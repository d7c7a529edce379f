"""pg8000 through the proxy: it prepares, describes and binds in round trips of their own."""

from collections.abc import Iterator
from io import StringIO

import pg8000.dbapi
import pg8000.native
import pytest

from tests.support.proxy import ProxyProcess


def connect(proxy: ProxyProcess) -> pg8000.native.Connection:
    return pg8000.native.Connection(
        "postgres", host="127.0.0.1", port=proxy.port, database=proxy.cluster.database, timeout=20
    )


@pytest.fixture
def connection(either: ProxyProcess, schema: str) -> Iterator[pg8000.native.Connection]:
    opened = connect(either)
    opened.run(f"SET search_path TO {schema}")
    opened.run("CREATE TABLE item (id int PRIMARY KEY, name text)")
    yield opened
    opened.close()


def test_parameters(connection: pg8000.native.Connection):
    for number in range(20):
        assert connection.run("SELECT :n + 1, :t", n=number, t="x") == [[number + 1, "x"]]


def test_unnamed_statements_of_several_clients(either: ProxyProcess):
    """Between Parse and Bind another client may have used the backend."""
    clients = [connect(either) for _ in range(5)]
    for turn in range(10):
        for at, client in enumerate(clients):
            assert client.run(f"SELECT {at}, :t", t=str(turn)) == [[at, str(turn)]]
    for client in clients:
        client.close()


def test_prepared(connection: pg8000.native.Connection):
    plus = connection.prepare("SELECT cast(:a AS int) + cast(:b AS int)")
    times = connection.prepare("SELECT cast(:a AS int) * 2")
    for number in range(10):
        assert plus.run(a=number, b=1) == [[number + 1]]
        assert times.run(a=number) == [[number * 2]]
    plus.close()
    times.close()


def test_transactions(connection: pg8000.native.Connection):
    connection.run("START TRANSACTION")
    connection.run("INSERT INTO item VALUES (:i, 'x')", i=1)
    with pytest.raises(pg8000.native.DatabaseError) as caught:
        connection.run("INSERT INTO item VALUES (:i, 'x')", i=1)
    assert caught.value.args[0]["C"] == "23505"
    connection.run("ROLLBACK")
    assert connection.run("SELECT count(*) FROM item") == [[0]]


def test_copy(connection: pg8000.native.Connection):
    rows = StringIO("".join(f"{n}\tx\n" for n in range(1000)))
    connection.run("COPY item FROM STDIN", stream=rows)
    out = StringIO()
    connection.run("COPY item TO STDOUT", stream=out)
    assert out.getvalue().count("\n") == 1000


def test_dbapi(either: ProxyProcess, schema: str):
    with pg8000.dbapi.connect(
        "postgres", host="127.0.0.1", port=either.port, database=either.cluster.database
    ) as opened:
        cursor = opened.cursor()
        cursor.execute(f"CREATE TABLE {schema}.many (id int, tags text[])")
        rows = [(n, ["a", str(n)]) for n in range(50)]
        cursor.executemany(f"INSERT INTO {schema}.many VALUES (%s, %s)", rows)
        opened.commit()
        cursor.execute(f"SELECT id, tags FROM {schema}.many ORDER BY id LIMIT %s", (2,))
        assert list(cursor.fetchall()) == [[0, ["a", "0"]], [1, ["a", "1"]]]
        opened.rollback()


def test_two_phases(either: ProxyProcess, schema: str):
    with pg8000.dbapi.connect(
        "postgres", host="127.0.0.1", port=either.port, database=either.cluster.database
    ) as opened:
        xid = opened.xid(0, schema, "")  # the only kind that pg8000 finds again
        opened.tpc_begin(xid)
        cursor = opened.cursor()
        cursor.execute(f"CREATE TABLE {schema}.prepared (id int)")
        opened.tpc_prepare()
        opened.tpc_commit()
        cursor.execute("SELECT to_regclass(%s)::text", (f"{schema}.prepared",))
        assert cursor.fetchone()[0] == f"{schema}.prepared"


def test_notifications(connection: pg8000.native.Connection, either: ProxyProcess, schema: str):
    connection.run(f"LISTEN {schema}")
    other = connect(either)
    other.run("SELECT pg_notify(:c, 'hello')", c=schema)
    other.close()
    for _ in range(100):  # each statement takes what came before its answer
        connection.run("SELECT pg_sleep(0.02)")
        if connection.notifications:
            break
    assert [told[1:] for told in connection.notifications] == [(schema, "hello")]
