"""The keeper against a real catalog: it hears, it polls when it does not hear, it acknowledges."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Engine

from shardrouter.catalog import CatalogStore, catalog_engine
from shardrouter.config import CatalogSettings
from shardrouter.control import ControlThread, Drain, TopologyKeeper
from shardrouter.topology import Epoch, Motion, ShardId, Slot, SlotsInMotion
from tests.support.eventually import eventually
from tests.support.topologies import small_topology

MakeKeeper = Callable[..., TopologyKeeper]
NEVER = 60.0  # longer than a test may take
KILL_LISTENERS = sql.SQL(
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE application_name = 'shardrouter-listener' AND datname = current_database()"
)
LISTENERS = sql.SQL(
    "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
    " AND application_name = 'shardrouter-listener' AND datname = current_database()"
)


@pytest.fixture
def keeper_of(store: CatalogStore, empty_catalog: str) -> Iterator[MakeKeeper]:
    """Start keepers as routers do; the topology is at epoch 1."""
    publish(store, 1)
    threads: list[ControlThread] = []
    engines: list[Engine] = []

    def make(**settings: Any) -> TopologyKeeper:
        engines.append(catalog_engine(empty_catalog))
        keeper = TopologyKeeper(
            CatalogStore(engines[-1]), CatalogSettings(dsn=empty_catalog, **settings)
        )
        threads.append(ControlThread())
        threads[-1].start()
        threads[-1].call(keeper.start())
        threads[-1].keep(keeper.run, name="topology keeper")
        return keeper

    yield make
    for thread in threads:
        thread.stop()
    for engine in engines:
        engine.dispose()


@pytest.fixture
def listeners(empty_catalog: str) -> Iterator[Callable[[sql.SQL], int]]:
    """Run a query about listeners; autocommit, since a transaction sees old activity only."""
    with psycopg.connect(empty_catalog, autocommit=True) as connection:

        def ask(query: sql.SQL) -> int:
            row = connection.execute(query).fetchone()
            assert row is not None
            return int(row[0])

        yield ask


def publish(store: CatalogStore, epoch: int) -> None:
    store.publish(small_topology(epoch), expected=Epoch(epoch - 1), actor="ann", reason="r")


def test_notification_alone_brings_the_new_topology(
    keeper_of: MakeKeeper, store: CatalogStore, listeners: Callable[[sql.SQL], int]
) -> None:
    keeper = keeper_of(poll_seconds=NEVER, lease_seconds=3600)
    eventually(lambda: listeners(LISTENERS) == 1)
    seen: list[int] = []
    keeper.on_change(lambda new: seen.append(new.epoch))
    for epoch in range(2, 12):
        publish(store, epoch)
        eventually(lambda: keeper.current().epoch == epoch)  # noqa: B023 - asked at once
    assert seen == list(range(2, 12))
    assert keeper.current() == small_topology(11)


def test_without_listen_polling_converges(keeper_of: MakeKeeper, store: CatalogStore) -> None:
    keeper = keeper_of(listen=False, poll_seconds=0.1)
    publish(store, 2)
    eventually(lambda: keeper.current().epoch == 2)


def test_listener_whose_backend_is_killed_misses_notifications_and_converges(
    keeper_of: MakeKeeper, store: CatalogStore, listeners: Callable[[sql.SQL], int]
) -> None:
    """Polling is as good as off here: only the look after a new LISTEN can find the epochs."""
    keeper = keeper_of(poll_seconds=NEVER, lease_seconds=3600)
    for epoch in range(2, 5):
        eventually(lambda: listeners(LISTENERS) == 1)
        assert listeners(KILL_LISTENERS) == 1
        publish(store, epoch)
        eventually(lambda: keeper.current().epoch == epoch)  # noqa: B023 - asked at once


def test_many_keepers_acknowledge_each_epoch(keeper_of: MakeKeeper, store: CatalogStore) -> None:
    for number in range(3):
        keeper_of(poll_seconds=0.2, listen=number > 0)
    for epoch in (2, 3):
        publish(store, epoch)
        eventually(lambda: [r.epoch for r in store.routers()] == [epoch] * 3)  # noqa: B023


def test_refresh_brings_the_epoch_before_poll_and_notification(
    keeper_of: MakeKeeper, store: CatalogStore
) -> None:
    keeper = keeper_of(listen=False, poll_seconds=NEVER, lease_seconds=3600)
    publish(store, 2)
    assert keeper.current().epoch == 1
    assert keeper.refresh(10).epoch == 2
    publish(store, 3)
    keeper.request_refresh()
    eventually(lambda: keeper.current().epoch == 3)


def test_stopped_router_is_signed_off(store: CatalogStore, empty_catalog: str) -> None:
    publish(store, 1)
    keeper = TopologyKeeper(store, CatalogSettings(dsn=empty_catalog))
    thread = ControlThread()
    thread.start()
    thread.call(keeper.start())
    thread.keep(keeper.run, name="topology keeper")
    keeper.refresh(10)
    assert len(store.routers()) == 1
    thread.stop()
    assert store.routers() == []


def test_a_router_tells_what_it_has_drained(keeper_of: MakeKeeper, store: CatalogStore) -> None:
    keeper = keeper_of(poll_seconds=NEVER, lease_seconds=3600)
    found = Drain(readers=False, writers=False)
    keeper.watch_drain(lambda _: found)
    paused = SlotsInMotion(7, (Slot(0),), ShardId("s0"), ShardId("s1"), Motion.PAUSED)
    moving = small_topology(1).with_motion(paused)

    def told() -> tuple[int, int, int]:
        (router,) = store.routers()
        return router.epoch, router.drained_epoch, router.writers_drained_epoch

    assert told() == (1, 1, 1)
    store.publish(moving, expected=Epoch(1), actor="mover", reason="r")
    eventually(lambda: told() == (2, 1, 1))
    found = Drain(readers=False, writers=True)
    eventually(lambda: told() == (2, 1, 2))
    store.publish(moving.without_motion(7), expected=Epoch(2), actor="mover", reason="r")
    eventually(lambda: told() == (3, 3, 3))
