"""Fixtures of the catalog alone: an empty database, one with the tables, one with a fleet."""

import itertools
from collections.abc import Iterator

import pytest
from psycopg import sql
from sqlalchemy import Engine

from shardrouter.catalog import CatalogStore, catalog_engine, install
from shardrouter.local import LocalFleet

SLOTS = 64
_NUMBERS = itertools.count(1)


@pytest.fixture
def empty_catalog(local_fleet: LocalFleet) -> Iterator[str]:
    """The DSN of an empty database on the catalog server, dropped at the end."""
    name = f"empty{next(_NUMBERS)}"
    with local_fleet.catalog.connect("postgres") as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))
        )
        try:
            yield local_fleet.catalog.dsn(name)
        finally:
            drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            connection.execute(drop)


@pytest.fixture
def empty_engine(empty_catalog: str) -> Iterator[Engine]:
    """An engine on an empty catalog database."""
    engine = catalog_engine(empty_catalog)
    yield engine
    engine.dispose()


@pytest.fixture
def store(empty_engine: Engine) -> CatalogStore:
    """A catalog with a fleet of 64 slots that has no topology yet."""
    install(empty_engine)
    made = CatalogStore(empty_engine)
    made.found(SLOTS, actor="tests")
    return made
