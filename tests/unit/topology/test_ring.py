"""The ring gives the same answers for ever, for any order of its shards."""

from shardrouter.topology import ShardId, Slot
from shardrouter.topology.ring import MAX_WEIGHT, Ring

WEIGHTS = {ShardId("s0"): 1, ShardId("s1"): 1, ShardId("s2"): 2, ShardId("s3"): 0}


def test_owners_are_fixed_for_ever() -> None:
    ring = Ring(WEIGHTS)
    assert [ring.owner(Slot(slot)) for slot in range(8)] == [
        "s2",
        "s2",
        "s0",
        "s1",
        "s0",
        "s2",
        "s1",
        "s1",
    ]


def test_walks_start_at_the_owner_and_visit_each_shard_once() -> None:
    ring = Ring(WEIGHTS)
    for slot in map(Slot, range(64)):
        walk = list(ring.walk(slot))
        assert walk[0] == ring.owner(slot)
        assert sorted(walk) == ["s0", "s1", "s2"]


def test_the_order_of_the_shards_does_not_matter() -> None:
    ring, other = Ring(WEIGHTS), Ring(dict(reversed(WEIGHTS.items())))
    assert all(ring.owner(Slot(s)) == other.owner(Slot(s)) for s in range(256))


def test_huge_weights_are_scaled_down() -> None:
    small = Ring({ShardId("s0"): 1, ShardId("s1"): MAX_WEIGHT})
    huge = Ring({ShardId("s0"): 10**6, ShardId("s1"): 10**6 * MAX_WEIGHT})
    assert all(small.owner(Slot(s)) == huge.owner(Slot(s)) for s in range(256))
