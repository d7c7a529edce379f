"""Fixtures of the databases on which gathered answers are compared with one Postgres."""

from collections.abc import Iterator

import pytest

from shardrouter.local import LocalFleet
from tests.support.gather_bed import GatherBed


@pytest.fixture(scope="session")
def gather_bed(local_fleet: LocalFleet) -> Iterator[GatherBed]:
    """Three shards and one plain Postgres; each test loads its own rows."""
    bed = GatherBed(local_fleet)
    yield bed
    bed.close()
