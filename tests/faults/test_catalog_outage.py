"""The catalog is stopped or frozen, at start and in mid-life; the process is frozen instead."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from shardrouter.catalog import CatalogStore, catalog_engine, found_fleet
from shardrouter.config import CatalogSettings
from shardrouter.control import ControlThread, TopologyKeeper
from shardrouter.errors import CatalogUnavailable, LeaseExpired
from shardrouter.local import LocalFleet, LocalServer
from shardrouter.topology import Epoch
from tests.support.eventually import SLOWNESS, eventually
from tests.support.topologies import small_topology

pytestmark = pytest.mark.xdist_group("catalog outage")

LEASE_SECONDS = 2.0
STATEMENT_SECONDS = 0.3
SLACK_SECONDS = 1.5 * SLOWNESS  # of a busy machine

FROZEN_PROCESS = """
import sys, time
from shardrouter.catalog import CatalogStore, catalog_engine
from shardrouter.config import CatalogSettings
from shardrouter.control import ControlThread, TopologyKeeper
from shardrouter.control.lease import lease_clock
from shardrouter.errors import LeaseExpired

settings = CatalogSettings(dsn=sys.argv[1], lease_seconds=1, poll_seconds=0.1)
keeper = TopologyKeeper(CatalogStore(catalog_engine(settings.dsn)), settings)
thread = ControlThread()
thread.start()
thread.call(keeper.start())
thread.keep(keeper.run, name="topology keeper")
before = lease_clock()
print("serving", flush=True)
while True:
    now = lease_clock()
    try:
        epoch = keeper.current().epoch
    except LeaseExpired:
        epoch = None
    if now - before > 1:
        print("after the freeze:", epoch, flush=True)
        break
    before = now
    time.sleep(0.001)
sys.stdin.readline()
print("later:", keeper.refresh(10).epoch, flush=True)
thread.stop()
"""


@pytest.fixture(scope="module")
def fleet() -> Iterator[LocalFleet]:
    made = LocalFleet.temporary(1, 0)
    engine = catalog_engine(made.catalog.dsn())
    try:
        found_fleet(engine, small_topology(), "tests")
        yield made
    finally:
        engine.dispose()
        made.catalog.thaw()
        made.destroy()


@pytest.fixture
def server(fleet: LocalFleet) -> Iterator[LocalServer]:
    """The catalog server, running again after each test."""
    yield fleet.catalog
    fleet.catalog.thaw()
    fleet.catalog.start()


@pytest.fixture
def engine(server: LocalServer) -> Iterator[Engine]:
    made = catalog_engine(server.dsn(), 2.0, STATEMENT_SECONDS)
    yield made
    made.dispose()


@pytest.fixture
def keeper(engine: Engine, server: LocalServer) -> TopologyKeeper:
    settings = CatalogSettings(dsn=server.dsn(), lease_seconds=LEASE_SECONDS, poll_seconds=0.1)
    return TopologyKeeper(CatalogStore(engine), settings)


@pytest.fixture
def thread() -> Iterator[ControlThread]:
    made = ControlThread()
    made.start()
    yield made
    made.stop()


def run(thread: ControlThread, keeper: TopologyKeeper) -> None:
    thread.call(keeper.start())
    thread.keep(keeper.run, name="topology keeper")


def seconds_until_expired(keeper: TopologyKeeper) -> float:
    start = time.monotonic()
    while True:
        try:
            keeper.current()
        except LeaseExpired:
            return time.monotonic() - start
        assert time.monotonic() - start < LEASE_SECONDS + SLACK_SECONDS
        time.sleep(0.005)


def test_stopped_at_start(
    server: LocalServer, keeper: TopologyKeeper, thread: ControlThread
) -> None:
    server.stop()
    with pytest.raises(CatalogUnavailable, match="Connection refused") as caught:
        thread.call(keeper.start())
    assert "shardrouter up" in str(caught.value)
    with pytest.raises(LeaseExpired):
        keeper.current()


def test_frozen_at_start_does_not_hang(
    server: LocalServer, keeper: TopologyKeeper, thread: ControlThread
) -> None:
    server.freeze()
    start = time.monotonic()
    with pytest.raises(CatalogUnavailable):
        thread.call(keeper.start())
    assert time.monotonic() - start < 2 + SLACK_SECONDS  # one connection attempt


def test_frozen_under_an_open_connection_does_not_hang(server: LocalServer, engine: Engine) -> None:
    store = CatalogStore(engine)
    assert store.epoch() >= 1
    with engine.connect() as connection:  # so that the store has to use one that is open
        connection.exec_driver_sql("SELECT 1")
        server.freeze()
        start = time.monotonic()
        with pytest.raises(Exception, match=r"no answer within 0\.8 s"):
            connection.exec_driver_sql("SELECT 1")
        assert time.monotonic() - start < 0.8 + SLACK_SECONDS
        assert connection.invalidated
    start = time.monotonic()
    with pytest.raises(CatalogUnavailable):
        store.epoch()
    assert time.monotonic() - start < 0.8 + 2 + SLACK_SECONDS  # ask, then connect anew
    server.thaw()
    assert eventually(store.epoch) >= 1


@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_mid_life_serves_until_the_lease_ends_then_recovers(
    how: str, server: LocalServer, keeper: TopologyKeeper, thread: ControlThread
) -> None:
    run(thread, keeper)
    epoch = keeper.current().epoch
    if how == "stopped":
        server.stop()
    else:
        server.freeze()
    # A third of the lease at most had gone since the last heartbeat.
    served = seconds_until_expired(keeper)
    assert served >= LEASE_SECONDS * 2 / 3 - 0.3
    with pytest.raises(LeaseExpired, match="lease of 2 s on the topology is over") as caught:
        keeper.current()
    assert caught.value.epoch == epoch
    assert caught.value.retryable
    server.thaw()
    server.start()
    assert eventually(lambda: is_served(keeper))
    assert keeper.current().epoch == epoch


def test_publish_during_an_outage_of_this_router_only(
    server: LocalServer, keeper: TopologyKeeper, thread: ControlThread, engine: Engine
) -> None:
    """A kill -9 of every backend and an immediate restart: the next epoch arrives all the same."""
    run(thread, keeper)
    epoch = keeper.current().epoch
    server.kill()
    server.start()
    store = CatalogStore(engine)
    new = small_topology(epoch + 1)
    store.publish(new, expected=Epoch(epoch), actor="tests", reason="r")
    assert eventually(lambda: is_served(keeper) and keeper.current().epoch == epoch + 1)


def test_process_frozen_past_its_lease_is_expired_at_once(server: LocalServer) -> None:
    """The catalog is frozen too while it wakes, so that no heartbeat can come first."""
    process = subprocess.Popen(
        [sys.executable, "-c", FROZEN_PROCESS, server.dsn()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "serving\n"
        os.kill(process.pid, signal.SIGSTOP)
        frozen_at = time.monotonic()
        eventually(lambda: time.monotonic() - frozen_at > 1.2)
        server.freeze()
        os.kill(process.pid, signal.SIGCONT)
        assert process.stdout.readline() == "after the freeze: None\n"
        server.thaw()
        out, _ = process.communicate("go\n", timeout=30)
        assert out.startswith("later: ")
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


def is_served(keeper: TopologyKeeper) -> bool:
    try:
        keeper.current()
    except LeaseExpired:
        return False
    return True
