"""A server's WAL on a small disk: it runs there, panics when it is full, and comes back."""

from collections.abc import Callable

import psycopg
import pytest

from shardrouter.local import LocalFleet
from tests.plugins.fix_rebalance import MakeWalDisk
from tests.support.eventually import eventually


def test_full_and_enlarged(private_fleet: Callable[..., LocalFleet], wal_disk: MakeWalDisk) -> None:
    fleet = private_fleet(1, 0)
    server = fleet.node("s0-p")
    disk = wal_disk(server, 96)
    with server.connect() as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
        disk.fill(leave_mb=2)
        message = "SELECT pg_logical_emit_message(false, 'noise', repeat('x', 1 << 20))"
        with pytest.raises(psycopg.OperationalError):
            for _ in range(64):
                connection.execute(message)
    eventually(lambda: not server.is_running())
    disk.clear()
    server.start()
    disk.enlarge(128)
    assert disk.free_mb > 32
    with server.connect() as connection:
        assert connection.execute("SELECT n FROM kept").fetchall() == [(1,)]
