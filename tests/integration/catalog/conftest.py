"""Fixtures of the catalog with two shards."""

import pytest

from shardrouter.catalog import CatalogStore, MoveStore
from shardrouter.topology import Epoch
from tests.support.topologies import small_topology


@pytest.fixture
def moves(store: CatalogStore) -> MoveStore:
    """The moves of a fleet with two shards."""
    store.publish(small_topology(), expected=Epoch(0), actor="tests", reason="r")
    return store.moves()
