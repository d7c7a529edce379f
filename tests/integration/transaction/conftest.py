"""A router on accounts spread over two shards; ``accounts`` are two on s0 and two on s1."""

from collections.abc import Iterator

import pytest

from shardrouter import Router
from tests.support.cluster import Cluster
from tests.support.transfers import Ledger, create_tables, fund, keys_of


@pytest.fixture
def router(cluster: Cluster) -> Iterator[Router]:
    create_tables(cluster)
    with Router.from_config(cluster.settings_path) as opened, opened.causal():
        yield opened


@pytest.fixture
def accounts(router: Router) -> tuple[int, int, int, int]:
    """Keys: two on s0, two on s1, each with 100."""
    first, second = keys_of(router, "s0", 2)
    third, fourth = keys_of(router, "s1", 2)
    fund(router, [first, second, third, fourth])
    return first, second, third, fourth


@pytest.fixture
def ledger(cluster: Cluster) -> Ledger:
    return Ledger(cluster)
