"""Fixtures of real Postgres: one fleet for each test process, fresh databases for each test."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shardrouter.catalog import CatalogStore, catalog_engine
from shardrouter.local import LocalFleet
from tests.support.cluster import Cluster, install_catalog

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def local_fleet() -> Iterator[LocalFleet]:
    """2 shards with a replica each, and the catalog server. Do not stop or kill its servers."""
    fleet = LocalFleet.temporary(shards=2, replicas=1)
    yield fleet
    fleet.destroy()


@pytest.fixture(scope="session")
def installed_fleet(local_fleet: LocalFleet) -> LocalFleet:
    """The fleet with the catalog's tables installed; its database is the tests' template."""
    install_catalog(local_fleet)
    return local_fleet


@pytest.fixture
def cluster(installed_fleet: LocalFleet, tmp_path: Path) -> Iterator[Cluster]:
    """Fresh databases on every node of the fleet, dropped at the end.

    The catalog is installed and the topology published at epoch 1.
    """
    fresh = Cluster(installed_fleet, next(_NUMBERS), tmp_path / "shardrouter.toml")
    fresh.make()
    try:
        fresh.publish()
        fresh.settings_path.write_text(f'[catalog]\ndsn = "{fresh.catalog_dsn}"\n')
        yield fresh
    finally:
        fresh.drop()


@pytest.fixture
def cluster_store(cluster: Cluster) -> Iterator[CatalogStore]:
    """The catalog of the cluster, by connections of its own."""
    engine = catalog_engine(cluster.catalog_dsn)
    yield CatalogStore(engine)
    engine.dispose()


@pytest.fixture
def private_fleet() -> Iterator[Callable[..., LocalFleet]]:
    """A factory of fleets for tests that stop or kill servers: ``private_fleet(1, 1)``."""
    made: list[LocalFleet] = []

    def make(shards: int = 2, replicas: int = 1) -> LocalFleet:
        made.append(LocalFleet.temporary(shards, replicas))
        return made[-1]

    try:
        yield make
    finally:
        for fleet in made:
            fleet.destroy()
