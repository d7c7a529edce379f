"""What slots a standing guard admits is read off its source."""

import pytest

from shardrouter.postgres import Guard
from shardrouter.postgres.moving.widen import owned_by_body
from shardrouter.topology import Epoch, KeyColumn, KeyType, ShardId, Slot, Table, TableKind

TABLE = Table("t", TableKind.SHARDED, (KeyColumn("k", KeyType.INT8),))


@pytest.mark.parametrize("owned", [(), (0,), (15,), (0, 3, 8, 9), tuple(range(16))])
def test_it_is_what_was_written(owned):
    slots = tuple(map(Slot, owned))
    assert owned_by_body(Guard(TABLE, ShardId("s0"), Epoch(1), 16, slots).body()) == slots


def test_other_functions_are_not_ours():
    assert owned_by_body("BEGIN RETURN NEW; END") is None
