"""Moves made by hand: what is refused, and in which words."""

import pytest

from shardrouter.errors import MoveRefused, UnknownShard
from shardrouter.rebalance.planning.isolate import isolate, move_of
from shardrouter.rebalance.planning.plan import Batch
from shardrouter.topology import ShardId, Slot
from tests.support.topologies import small_topology

TWO = small_topology()  # even slots on s0, odd ones on s1


def test_the_slot_of_a_key_moves_alone() -> None:
    assert isolate(TWO, Slot(4), "s1") == Batch(ShardId("s0"), ShardId("s1"), (Slot(4),))


def test_slots_are_sorted_and_each_is_named_once() -> None:
    assert move_of(TWO, [Slot(8), Slot(2), Slot(8)], "s0", "s1").slots == (2, 8)


@pytest.mark.parametrize(
    ("slots", "source", "target", "said"),
    [
        ([4], "s0", "s0", "on shard s0 already"),
        ([4, 5, 7], "s0", "s1", r"does not own slot 5,7 \(s1 owns 5\)"),
        ([64], "s0", "s1", "no slot 64"),
        ([-1], "s0", "s1", "no slot -1"),
        ([], "s0", "s1", "no slot was named"),
    ],
)
def test_refused(slots: list[int], source: str, target: str, said: str) -> None:
    with pytest.raises(MoveRefused, match=said):
        move_of(TWO, [Slot(slot) for slot in slots], source, target)


def test_unknown_shard() -> None:
    with pytest.raises(UnknownShard):
        isolate(TWO, Slot(4), "s9")
