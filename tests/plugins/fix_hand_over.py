"""A fixture of slots that are handed over by hand while clients are at work."""

from collections.abc import Iterator

import pytest

from tests.support.cluster import Cluster
from tests.support.hand_over import HandOver, hand_over_on


@pytest.fixture
def hand_over(cluster: Cluster) -> Iterator[HandOver]:
    """Two shards with the guarded table ``orders``; nothing is in motion yet."""
    with hand_over_on(cluster) as made:
        yield made
