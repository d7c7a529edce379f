"""Fixtures of guarded tables."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import NullPool

from tests.support.cluster import Cluster
from tests.support.guarded import CREATE_ORDERS, ORDERS, Guarded


@pytest.fixture
def engine_of(cluster: Cluster) -> Iterator[Callable[[str], Engine]]:
    """Make an engine on the test's database of a node; disposed at the end."""
    made: list[Engine] = []

    def make(node: str) -> Engine:
        url = cluster.dsn(node).replace("postgresql://", "postgresql+psycopg://")
        made.append(create_engine(url, poolclass=NullPool))
        return made[-1]

    yield make
    for engine in made:
        engine.dispose()


@pytest.fixture
def guarded(cluster: Cluster, engine_of: Callable[[str], Engine]) -> Guarded:
    topology = cluster.topology.next(tables=(ORDERS,))
    ours = Guarded(cluster, topology, {s: engine_of(f"{s}-p") for s in ("s0", "s1")})
    for shard in ours.engines:
        with ours.connect(shard) as connection:
            connection.execute(CREATE_ORDERS)
        ours.install(topology, shard)
    return ours
