"""Fixtures for faults of the proxy: servers that may be killed, relays that may be cut."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any, Final

import psycopg
import pytest

from shardrouter.local import LocalFleet
from tests.support.chaos_relay import ChaosRelay
from tests.support.cluster import Cluster

Keep = Callable[[psycopg.Connection[Any]], psycopg.Connection[Any]]
MakeRelay = Callable[[int], ChaosRelay]
_NUMBERS: Final = itertools.count(7001)


@pytest.fixture(scope="session")
def fragile_fleet() -> Iterator[LocalFleet]:
    fleet = LocalFleet.temporary(1, 1)
    yield fleet
    fleet.destroy()


@pytest.fixture(scope="session")
def fragile_cluster(fragile_fleet: LocalFleet, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    folder = tmp_path_factory.mktemp("fragile")
    made = Cluster(fragile_fleet, next(_NUMBERS), folder / "shardrouter.toml")
    made.make()
    return made


@pytest.fixture
def fragile(fragile_cluster: Cluster) -> Iterator[Cluster]:
    """One shard with a replica whose servers a test may kill, freeze and stop, not promote."""
    yield fragile_cluster
    for server in fragile_cluster.fleet.servers:
        server.thaw()
    fragile_cluster.fleet.start()


@pytest.fixture
def relay_to() -> Iterator[MakeRelay]:
    """A factory of relays: ``relay_to(port)``."""
    made: list[ChaosRelay] = []

    def make(port: int) -> ChaosRelay:
        made.append(ChaosRelay(port))
        return made[-1]

    try:
        yield make
    finally:
        for relay in made:
            relay.close()


@pytest.fixture
def kept() -> Iterator[Keep]:
    """Keep connections open to the end of the test, whatever becomes of them."""
    with ExitStack() as stack:
        yield lambda connection: stack.enter_context(closing(connection))
