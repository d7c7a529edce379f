"""Fixtures of two shards between which slots move."""

from collections.abc import Iterator

import pytest

from tests.support.cluster import Cluster
from tests.support.moving_shards import MovingShards


@pytest.fixture
def shards(cluster: Cluster) -> Iterator[MovingShards]:
    """Source and target with the tables of a move, and its token taken on both."""
    made = MovingShards(cluster.dsn("s0-p"), cluster.dsn("s1-p"))
    made.prepare()
    try:
        yield made
    finally:
        made.close()
