"""BEGIN travels with the first statement, and nothing else about a transaction changes."""

import asyncio
import re
import tempfile
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import IsolationLevel
from psycopg.pq import TransactionStatus

from shardrouter.postgres import AsyncBackend, Backend
from shardrouter.topology import Position
from tests.support.cluster import Cluster
from tests.support.eventually import eventually_async

INSERT = "INSERT INTO notes VALUES (%s, %s)"
SELECT = "SELECT id FROM notes WHERE id = %s"
SLEEP = "SELECT pg_sleep(%s)"


@pytest.fixture
def positions() -> list[Position]:
    """Where the backend's commits landed."""
    return []


@pytest.fixture
def backend(cluster: Cluster, positions: list[Position]) -> Iterator[Backend]:
    """A backend that has prepared INSERT and SELECT; the table holds row 1."""
    with cluster.connect("s0-p") as connection:
        connection.execute("CREATE TABLE notes (id int PRIMARY KEY, note text)")
    with Backend.connect(cluster.dsn("s0-p")) as made:
        made.on_commit = positions.append
        made.execute(INSERT, (1, "first"), prepare=True)
        made.execute(SELECT, (1,), prepare=True)
        made.commit()
        positions.clear()
        yield made


def waits(backend: Backend, work: Callable[[], object]) -> int:
    """Return how often the server told that it waits for the client: the round trips."""
    with tempfile.TemporaryFile() as file:
        backend.pgconn.trace(file.fileno())
        work()
        backend.pgconn.untrace()
        file.seek(0)
        return len(re.findall(r"\tB\t\d+\tReadyForQuery", file.read().decode()))


def status(backend: Backend | AsyncBackend) -> TransactionStatus:
    return TransactionStatus(backend.pgconn.transaction_status)


def test_first_prepared_statement_takes_one_round_trip(backend: Backend) -> None:
    assert waits(backend, lambda: backend.execute(SELECT, (1,))) == 1
    assert status(backend) == TransactionStatus.INTRANS
    assert waits(backend, lambda: backend.execute(SELECT, (1,))) == 1
    assert waits(backend, backend.commit) == 1
    assert status(backend) == TransactionStatus.IDLE


@pytest.mark.parametrize("query", [SELECT + " AND true", "SELECT 1"])
def test_other_statements_send_begin_before(backend: Backend, query: str) -> None:
    values = (1,) if "%s" in query else None
    assert waits(backend, lambda: backend.execute(query, values)) == 2
    assert status(backend) == TransactionStatus.INTRANS


def test_rows_and_row_counts_are_those_of_the_statement(backend: Backend) -> None:
    assert backend.execute(SELECT, (1,)).fetchall() == [(1,)]
    backend.commit()
    cursor = backend.execute(INSERT, (2, "second"))
    assert (cursor.rowcount, cursor.statusmessage) == (1, "INSERT 0 1")


def test_commit_keeps_and_is_told_rollback_loses(
    backend: Backend, positions: list[Position], cluster: Cluster
) -> None:
    backend.execute(INSERT, (2, "kept"))
    assert backend.may_have_committed()
    backend.commit()
    assert len(positions) == 1
    assert not backend.may_have_committed()
    backend.execute(INSERT, (3, "lost"))
    backend.rollback()
    with cluster.connect("s0-p") as other:
        assert other.execute("SELECT id FROM notes ORDER BY id").fetchall() == [(1,), (2,)]


def test_failing_statement_leaves_a_failed_transaction(backend: Backend) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation):
        backend.execute(INSERT, (1, "again"))
    assert status(backend) == TransactionStatus.INERROR
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        backend.execute(SELECT, (1,))
    backend.rollback()
    assert backend.execute(SELECT, (1,)).fetchone() == (1,)


def test_failing_begin_is_an_error_and_nothing_is_open(backend: Backend) -> None:
    backend._begin_statement = b"BEGIN ISOLATION LEVEL nonsense"
    with pytest.raises(psycopg.errors.SyntaxError):
        backend.execute(SELECT, (1,))
    assert status(backend) == TransactionStatus.IDLE
    backend._begin_statement = b""
    assert backend.execute(SELECT, (1,)).fetchone() == (1,)


def test_statement_that_the_server_forgot_fails_as_ever(backend: Backend) -> None:
    backend.pgconn.exec_(b"DEALLOCATE ALL")
    with pytest.raises(psycopg.errors.InvalidSqlStatementName):
        backend.execute(SELECT, (1,))
    backend.rollback()
    assert backend.execute(SELECT, (1,)).fetchone() == (1,)


def test_transaction_has_the_wanted_characteristics(backend: Backend) -> None:
    show = "SELECT current_setting(%s)"
    backend.execute(show, ("transaction_isolation",), prepare=True)
    backend.commit()
    backend.isolation_level = IsolationLevel.SERIALIZABLE
    assert backend.execute(show, ("transaction_isolation",)).fetchone() == ("serializable",)
    backend.rollback()
    backend.isolation_level = None
    backend.only_read(True)
    backend.execute(show, ("transaction_isolation",), prepare=True)
    backend.commit()
    assert backend.execute(show, ("transaction_read_only",)).fetchone() == ("on",)
    assert not backend.may_have_committed()


def test_no_transaction_in_autocommit_and_none_twice(backend: Backend) -> None:
    backend.autocommit = True
    backend.execute(SELECT, (1,))
    assert status(backend) == TransactionStatus.IDLE
    with backend.transaction():
        assert waits(backend, lambda: backend.execute(SELECT, (1,))) == 1
        assert status(backend) == TransactionStatus.INTRANS
    backend.autocommit = False
    with backend.pipeline():
        cursor = backend.execute(SELECT, (1,))
    assert cursor.fetchone() == (1,)


def test_server_that_dies_is_noticed(backend: Backend, cluster: Cluster) -> None:
    with cluster.connect("s0-p") as other:
        pid = backend.info.backend_pid
        assert other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid]).fetchone() == (True,)
    with pytest.raises(psycopg.OperationalError):
        backend.execute(SELECT, (1,))
    assert backend.closed


async def test_async_statement_takes_one_round_trip_and_can_be_cancelled(
    backend: Backend, cluster: Cluster
) -> None:
    async with await AsyncBackend.connect(cluster.dsn("s0-p")) as connection:
        for query, value in ((SELECT, 1), (SLEEP, 0)):
            await connection.execute(query, (value,), prepare=True)
        await connection.commit()
        cursor = await connection.execute(SELECT, (1,))
        assert await cursor.fetchall() == [(1,)]
        assert status(connection) == TransactionStatus.INTRANS
        await connection.commit()

        sleeping = asyncio.ensure_future(connection.execute(SLEEP, (60,)))
        await eventually_async(lambda: _is_asleep(cluster, connection.info.backend_pid))
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping
        assert status(connection) == TransactionStatus.INERROR
        await connection.rollback()
        cursor = await connection.execute(SELECT, (1,))
        assert await cursor.fetchone() == (1,)


def _is_asleep(cluster: Cluster, pid: int) -> bool:
    with cluster.connect("s0-p") as other:
        query = "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = %s"
        return other.execute(query, [pid]).fetchone() == (True,)
