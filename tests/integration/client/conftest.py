"""A router on the test's own databases, with one sharded table that is guarded by nothing."""

from collections.abc import Iterator

import pytest

from shardrouter import Router
from tests.support.cluster import Cluster
from tests.support.orders import CREATE_TABLES


@pytest.fixture
def tables(cluster: Cluster) -> None:
    """Create the tables of tests.support.orders on every shard; the replicas have them too."""
    for server in cluster.primaries():
        with cluster.connect(server.id) as connection:
            connection.execute(CREATE_TABLES)
    for node in cluster.fleet.nodes:
        if node.primary is not None:
            cluster.wait_replayed(node.id)


@pytest.fixture
def router(cluster: Cluster, tables: None) -> Iterator[Router]:
    with Router.from_config(cluster.settings_path) as opened, opened.causal():
        yield opened
