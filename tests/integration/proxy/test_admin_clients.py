"""The admin database from psql and from drivers, over a socket, on the event loop of workers."""

import asyncio
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pg8000.dbapi
import psycopg
import pytest
import uvloop

from tests.support.admin_server import AdminServer, admin_server
from tests.support.eventually import eventually
from tests.support.fake_workers import CLIENT, FakeWorkers

_FOUND = (*sorted(Path("/usr/lib/postgresql").glob("*/bin/psql")), shutil.which("psql"))
PSQL = next((str(path) for path in _FOUND if path and os.access(path, os.X_OK)), "")
needs_psql = pytest.mark.skipif(not PSQL, reason="there is no psql on this machine")


@pytest.fixture
def server() -> Iterator[AdminServer]:
    """A server in a thread of its own, as its clients block."""
    made: list[AdminServer] = []
    stop = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        async with admin_server(FakeWorkers()) as running:
            made.append(running)
            await stop.wait()

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        eventually(lambda: made)
        yield made[0]
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(10)
        assert not thread.is_alive()


def psql(server: AdminServer, *commands: str, more: tuple[str, ...] = ()) -> str:
    asked = [word for command in commands for word in ("-c", command)]
    done = subprocess.run(
        [PSQL, "-X", *more, server.dsn(), *asked], capture_output=True, text=True, timeout=20
    )
    return done.stdout + done.stderr


@needs_psql
def test_psql_prints_aligned_columns(server: AdminServer) -> None:
    lines = psql(server, "SHOW LEASES;").splitlines()
    assert lines[0].split() == [
        *("worker", "|", "pid", "|", "epoch", "|", "seconds_left", "|"),
        *("source", "|", "problem"),
    ]
    assert [line.index("|") for line in lines if "|" in line] == [lines[0].index("|")] * 3
    assert "(2 rows)" in lines


@needs_psql
def test_psql_shows_tags_notes_errors_and_hints(server: AdminServer) -> None:
    said = psql(server, "resume", "drain", "select 1", more=("-v", "VERBOSITY=verbose"))
    assert "RESUME" in said
    assert "NOTICE:  00000: no new clients" in said
    assert "ERROR:  42601: 'select' is not a command" in said
    assert "HINT:  commands are SHOW SHARDS" in said


@needs_psql
def test_psql_says_nothing_about_versions_and_lists_every_command(server: AdminServer) -> None:
    said = psql(server, "show help", "show version")
    assert "WARNING" not in said
    assert "KILL client id" in said
    assert "shardrouter 0" in said


@needs_psql
def test_control_c_ends_a_pause(server: AdminServer) -> None:
    server.workers.drains_seconds = 30.0
    process = subprocess.Popen(
        [PSQL, "-X", server.dsn()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write("pause;\n")
    process.stdin.flush()
    eventually(lambda: "pause" in [verb for verb, _ in server.workers.asked])
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=20)
    assert "canceling statement due to user request" in said


def test_after_a_cancel_the_session_goes_on(server: AdminServer) -> None:
    server.workers.drains_seconds = 30.0
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        timer = threading.Timer(0.2, connection.cancel_safe)
        timer.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("PAUSE")
        timer.join()
        assert connection.execute("SHOW VERSION").fetchone()


def test_psycopg(server: AdminServer) -> None:
    with psycopg.connect(server.dsn()) as connection:  # begins transactions by itself
        cursor = connection.execute("SHOW CLIENTS")
        assert [column.name for column in cursor.description or ()] == list(CLIENT)
        assert [row[1] for row in cursor] == ["11", "12"]
        connection.commit()
        with pytest.raises(psycopg.errors.SyntaxError):
            connection.execute("SHOW NOTHING")
        connection.rollback()
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_psycopg_binary_prepared_and_pipelined(server: AdminServer) -> None:
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        rows = connection.execute("SHOW SHARDS", prepare=True, binary=True).fetchall()
        assert rows == connection.execute("SHOW SHARDS", prepare=True).fetchall()
        assert rows[0][3] == "s0-r1, s0-r2"
        with connection.pipeline():
            first = connection.execute("SHOW VERSION")
            second = connection.execute("SHOW POOLS")
        assert len(first.fetchall()) == 1
        assert second.fetchall()[0][6] == "2"


async def test_asyncpg(server: AdminServer) -> None:
    connection = await asyncpg.connect(
        host="127.0.0.1", port=server.port, user="shardrouter_admin", database="shardrouter"
    )
    try:
        rows = await connection.fetch("SHOW CLIENTS")
        assert [row["id"] for row in rows] == ["11", "12"]
        assert (await connection.fetchrow("SHOW CLIENTS"))["id"] == "11"
        assert await connection.execute("RESUME") == "RESUME"
        with pytest.raises(asyncpg.PostgresSyntaxError):
            await connection.fetch("SHOW NOTHING")
        assert await connection.fetchval("SHOW VERSION")
    finally:
        await connection.close()


def test_pg8000(server: AdminServer) -> None:
    connection = pg8000.dbapi.connect(
        user="shardrouter_admin", host="127.0.0.1", port=server.port, database="shardrouter"
    )
    try:
        cursor = connection.cursor()
        cursor.execute("SHOW NODES")
        assert cursor.fetchall()[0][0] == "s0-p"
        connection.commit()
    finally:
        connection.close()
