"""A client that leaves in the middle of an answer leaves nothing running."""

import socket

import psycopg

from shardrouter.wire import messages
from tests.support.cluster import Connection
from tests.support.eventually import eventually
from tests.support.proxy import USER, ProxyProcess

ENDLESS = "SELECT repeat('x', 1000), generate_series(1, 1000000000) /* endless */"


def _running(connection: Connection) -> int:
    row = connection.execute(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE state = 'active' AND query LIKE 'SELECT repeat%/* endless */'"
        " AND pid <> pg_backend_pid()"
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_an_unread_answer_ends_with_its_client(proxy: ProxyProcess) -> None:
    with psycopg.connect(proxy.cluster.dsn("s0-p"), autocommit=True) as watch:
        for has_goodbye in (False, True):
            client = socket.create_connection(("127.0.0.1", proxy.port))
            startup = {"user": USER, "database": proxy.cluster.database}
            client.sendall(messages.startup(startup) + messages.query(ENDLESS))
            eventually(lambda: _running(watch) == 1)
            client.recv(100_000)
            if has_goodbye:
                client.sendall(messages.terminate())
            client.close()
            eventually(lambda: _running(watch) == 0)


def test_what_was_asked_before_a_goodbye_is_done(proxy: ProxyProcess) -> None:
    with psycopg.connect(proxy.cluster.dsn("s0-p"), autocommit=True) as watch:
        watch.execute("CREATE TABLE left_behind (number int)")
        client = socket.create_connection(("127.0.0.1", proxy.port))
        startup = {"user": USER, "database": proxy.cluster.database}
        slow = "INSERT INTO left_behind SELECT 1 FROM pg_sleep(0.3)"
        client.sendall(messages.startup(startup) + messages.query(slow) + messages.terminate())
        eventually(lambda: watch.execute("SELECT count(*) FROM left_behind").fetchone() == (1,))
        client.close()
        watch.execute("DROP TABLE left_behind")
