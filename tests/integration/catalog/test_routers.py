"""The register of routers: leases by the catalog's clock, acknowledged epochs, pruning."""

import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, func, select, text

from shardrouter.catalog import CatalogStore, Registration
from shardrouter.catalog.current import FLEET_LOCK
from shardrouter.catalog.schema import routers
from shardrouter.errors import SettingsError
from shardrouter.topology import Epoch
from tests.support.eventually import eventually
from tests.support.topologies import small_topology

RACE_ROUNDS = 60


def registration(store: CatalogStore, fleet: UUID | None = None) -> Registration:
    return Registration(uuid4(), fleet or store.fleet().id, "library", "host:1", "0.1")


def publish(store: CatalogStore, epoch: int) -> None:
    store.publish(small_topology(epoch), expected=Epoch(epoch - 1), actor="ann", reason="r")


def test_heartbeat_registers_renews_and_tells_the_current_epoch(store: CatalogStore) -> None:
    me = registration(store)
    assert store.heartbeat(me, Epoch(0), 15.0) == 0
    publish(store, 1)
    assert store.heartbeat(me, Epoch(0), 15.0) == 1
    (first,) = store.routers()
    assert (first.id, first.kind, first.name, first.version) == (me.id, "library", "host:1", "0.1")
    assert (first.epoch, first.drained_epoch, first.writers_drained_epoch) == (0, 0, 0)
    assert store.heartbeat(me, Epoch(1), 15.0) == 1
    (second,) = store.routers()
    assert second.epoch == 1
    assert second.registered_at == first.registered_at
    assert second.renewed_at > first.renewed_at


def test_what_a_router_has_drained_is_kept_with_its_epoch(store: CatalogStore) -> None:
    publish(store, 1)
    publish(store, 2)
    me = registration(store)
    assert store.heartbeat(me, Epoch(2), 15.0, Epoch(1), Epoch(2)) == 2
    (router,) = store.routers()
    assert (router.epoch, router.drained_epoch, router.writers_drained_epoch) == (2, 1, 2)


def test_times_are_the_catalogs(store: CatalogStore, empty_engine: Engine) -> None:
    with empty_engine.connect() as connection:
        before = connection.scalar(select(func.clock_timestamp()))
        store.heartbeat(registration(store), Epoch(0), 15.0)
        after = connection.scalar(select(func.clock_timestamp()))
    (router,) = store.routers()
    assert before < router.renewed_at < after
    assert (router.expires_at - router.renewed_at).total_seconds() == pytest.approx(15, abs=0.01)


def test_expired_routers_are_not_listed_and_pruned_by_the_next_heartbeat(
    store: CatalogStore, empty_engine: Engine
) -> None:
    dying = registration(store)
    store.heartbeat(dying, Epoch(0), 0.05)
    eventually(lambda: store.routers() == [])
    with empty_engine.connect() as connection:
        count = select(func.count()).select_from(routers)
        assert connection.scalar(count) == 1
        store.heartbeat(registration(store), Epoch(0), 15.0)
        assert connection.scalar(count) == 1
    assert [r.id for r in store.routers()] != [dying.id]
    store.heartbeat(dying, Epoch(0), 15.0)
    assert len(store.routers()) == 2


def test_sign_off(store: CatalogStore) -> None:
    me = registration(store)
    store.heartbeat(me, Epoch(0), 15.0)
    store.sign_off(me.id)
    store.sign_off(me.id)
    assert store.routers() == []


def test_another_fleet_is_refused(store: CatalogStore) -> None:
    with pytest.raises(SettingsError, match="the catalog now holds fleet"):
        store.heartbeat(registration(store, fleet=uuid4()), Epoch(0), 15.0)
    assert store.routers() == []


def test_publisher_waits_for_a_heartbeat_under_way(
    store: CatalogStore, empty_engine: Engine
) -> None:
    with ThreadPoolExecutor(1) as pool, empty_engine.connect() as heartbeat:
        heartbeat.execute(select(func.pg_advisory_xact_lock_shared(FLEET_LOCK)))
        publishing = pool.submit(publish, store, 1)
        waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        eventually(lambda: heartbeat.scalar(waiting) == 1)
        assert not publishing.done()
        heartbeat.commit()
        publishing.result(10)
    assert store.epoch() == 1


def test_who_was_told_that_an_epoch_is_current_is_seen_by_the_next_publisher(
    store: CatalogStore,
) -> None:
    publish(store, 1)
    together = threading.Barrier(2)
    told_current = 0

    def beat(me: Registration, epoch: int) -> Epoch:
        together.wait(10)
        return store.heartbeat(me, Epoch(epoch), 15.0)

    with ThreadPoolExecutor(1) as pool:
        for epoch in range(1, RACE_ROUNDS + 1):
            me = registration(store)
            beating = pool.submit(beat, me, epoch)
            together.wait(10)
            publish(store, epoch + 1)
            seen = {router.id for router in store.routers()}
            if beating.result(10) == epoch:
                told_current += 1
                assert me.id in seen
            store.sign_off(me.id)
    assert 0 < told_current <= RACE_ROUNDS
