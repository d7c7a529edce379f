"""A pooled connection that died while it rested is replaced, and nobody notices."""

import math
import time
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import Engine, event, text

from shardrouter.catalog import CatalogStore, catalog_engine, connect
from tests.support.eventually import eventually
from tests.support.topologies import small_topology

OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@pytest.fixture
def engine(empty_catalog: str, store: CatalogStore) -> Iterator[Engine]:
    """A pool of its own on the fleet's catalog."""
    store.close()
    made = catalog_engine(empty_catalog)
    yield made
    made.dispose()


def end_everybody(dsn: str) -> int:
    with psycopg.connect(dsn, autocommit=True) as connection:
        ended = connection.execute(f"SELECT pg_terminate_backend(pid) {OTHERS}").fetchall()
        eventually(lambda: connection.execute(f"SELECT count(*) {OTHERS}").fetchone() == (0,))
        return len(ended)


@pytest.mark.parametrize("trusted", [math.inf, -1.0], ids=["by what it says", "by asking"])
def test_one_that_was_ended_is_replaced(trusted, engine, empty_catalog, monkeypatch):
    monkeypatch.setattr(connect, "TRUSTED_SECONDS", trusted)
    store = CatalogStore(engine)
    fleet = store.fleet()
    for _ in range(3):
        assert end_everybody(empty_catalog) == 1
        assert store.fleet() == fleet


def test_others_that_rested_as_long_are_replaced_with_it(engine, empty_catalog):
    with engine.connect() as one, engine.connect() as two:
        one.execute(text("SELECT 1"))
        two.execute(text("SELECT 1"))
    assert end_everybody(empty_catalog) == 2
    with engine.connect() as one, engine.connect() as two:
        assert one.scalar(text("SELECT 1")) == two.scalar(text("SELECT 1")) == 1


def test_one_in_use_a_moment_ago_is_not_asked(engine, monkeypatch):
    """Writers wait for a cutover's journeys to the catalog: a ping is one more."""
    pings = []
    monkeypatch.setattr(engine.dialect, "do_ping", pings.append)
    store = CatalogStore(engine)
    for _ in range(5):
        store.fleet()
    assert pings == []
    monkeypatch.setattr(connect, "TRUSTED_SECONDS", 0.01)
    time.sleep(0.02)
    store.fleet()
    assert len(pings) == 1


def test_publication_under_cutover_takes_few_journeys(engine, store):
    """BEGIN and COMMIT are not counted here: the lock, and the publication itself."""
    said = []
    event.listen(engine, "before_cursor_execute", lambda *given: said.append(given[2]))
    CatalogStore(engine).publish(small_topology(1), expected=0, actor="a", reason="r")
    assert len(said) == 2
