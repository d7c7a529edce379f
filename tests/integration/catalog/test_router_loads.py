"""Queries by slot in the catalog: one row a router, summed, fading, forgotten."""

from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from shardrouter.catalog import CatalogStore, Registration, RouterLoads, found_fleet
from shardrouter.topology import HALF_LIFE_SECONDS, Slot
from tests.support.topologies import small_topology

A, B = Slot(3), Slot(7)
AGE = "UPDATE shardrouter.router_loads SET reported_at = reported_at - make_interval(secs => :s)"


@pytest.fixture
def store(empty_engine: Engine) -> Iterator[CatalogStore]:
    found_fleet(empty_engine, small_topology(), "tests")
    yield CatalogStore(empty_engine)


@pytest.fixture
def loads(store: CatalogStore) -> RouterLoads:
    return store.router_loads()


def router(store: CatalogStore) -> Registration:
    return Registration(uuid4(), store.fleet().id, "library", "x", "0.1")


def age(engine: Engine, seconds: float) -> None:
    with engine.begin() as connection:
        connection.execute(text(AGE), {"s": seconds})


def rows(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text("SELECT count(*) FROM shardrouter.router_loads")) or 0)


def test_routers_add_up_and_each_counts_once(store: CatalogStore, loads: RouterLoads) -> None:
    assert loads.total() == {}
    one, other = router(store), router(store)
    loads.report(one, {A: 1.0})
    loads.report(one, {A: 8.0, B: 9.6})
    loads.report(other, {A: 16.0})
    assert loads.total() == {A: pytest.approx(24, rel=0.05), B: pytest.approx(10, rel=0.05)}
    store.sign_off(one.id)
    assert loads.total()[A] == pytest.approx(24, rel=0.05)
    loads.report(other, {})
    assert loads.total().keys() == {A, B}


def test_what_is_told_fades_and_is_forgotten(
    empty_engine: Engine, store: CatalogStore, loads: RouterLoads
) -> None:
    gone = router(store)
    loads.report(gone, {A: 64.0})
    age(empty_engine, HALF_LIFE_SECONDS)
    assert loads.total() == {A: pytest.approx(32, rel=0.05)}
    age(empty_engine, 3600)
    assert loads.total() == {}
    loads.report(router(store), {B: 1.0})
    assert rows(empty_engine) == 1
    loads.report(gone, {A: 1.0})
    assert loads.total().keys() == {A, B}


def test_a_router_of_another_fleet_leaves_nothing(store: CatalogStore, loads: RouterLoads) -> None:
    loads.report(replace(router(store), fleet=uuid4()), {A: 1.0})
    assert loads.total() == {}
