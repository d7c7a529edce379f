"""What adding, draining and removing shards makes of a topology."""

from dataclasses import replace

import pytest

from shardrouter.control import drained, with_shard, without_shard
from shardrouter.errors import SettingsError, UnknownShard
from shardrouter.topology import (
    KeyColumn,
    KeyType,
    Node,
    NodeId,
    Role,
    Shard,
    ShardId,
    Table,
    TableKind,
    Topology,
)

ORDERS = Table("orders", TableKind.SHARDED, (KeyColumn("user_id", KeyType.INT8),))


def shard(name: str, weight: int = 1) -> Shard:
    return Shard(ShardId(name), (Node(NodeId(f"{name}-p"), Role.PRIMARY, "host=x"),), weight)


def fleet(*names: str, tables: tuple[Table, ...] = ()) -> Topology:
    topology = None
    for name in names:
        topology = with_shard(topology, shard(name), 64)
    assert topology is not None
    return replace(topology, tables=tables)


def test_first_shard_owns_all_at_epoch_1() -> None:
    first = with_shard(None, shard("s0"), 64)
    assert (first.epoch, first.slots, first.slot_counts()) == (1, 64, {"s0": 64})


def test_first_shard_needs_a_weight() -> None:
    with pytest.raises(SettingsError):
        with_shard(None, shard("s0", weight=0), 64)


def test_without_tables_slots_follow_at_once_and_no_more_than_needed() -> None:
    two = fleet("s0", "s1")
    three = with_shard(two, shard("s2", weight=2), 64)
    assert three.epoch == 3
    assert three.slot_counts() == {"s0": 16, "s1": 16, "s2": 32}
    moved = [new for old, new in zip(two.owners, three.owners, strict=True) if old != new]
    assert set(moved) == {"s2"}


def test_with_tables_no_slot_changes_its_owner() -> None:
    two = fleet("s0", "s1", tables=(ORDERS,))
    three = with_shard(two, shard("s2"), 64)
    assert three.owners == two.owners
    assert three.slot_counts()["s2"] == 0
    assert drained(three, "s1").owners == two.owners


def test_name_taken() -> None:
    with pytest.raises(SettingsError, match="there is a shard s0 already"):
        with_shard(fleet("s0"), shard("s0"), 64)


def test_drain_takes_the_weight_and_without_tables_the_slots() -> None:
    after = drained(fleet("s0", "s1"), "s1")
    assert after.shard("s1").weight == 0
    assert after.slot_counts() == {"s0": 64, "s1": 0}
    assert drained(after, "s1") is after


def test_last_weight_is_kept() -> None:
    with pytest.raises(SettingsError, match="no other shard has a weight"):
        drained(fleet("s0"), "s0")


def test_remove_only_what_is_empty() -> None:
    two = fleet("s0", "s1")
    with pytest.raises(SettingsError, match="it owns 32 slots") as caught:
        without_shard(two, "s1")
    assert caught.value.shard == "s1"
    assert [s.id for s in without_shard(drained(two, "s1"), "s1").shards] == ["s0"]


def test_remove_refuses_local_tables() -> None:
    audit = Table("audit", TableKind.LOCAL, shard=ShardId("s1"))
    emptied = replace(drained(fleet("s0", "s1"), "s1"), tables=(audit,))
    with pytest.raises(SettingsError, match=r"local tables public\.audit"):
        without_shard(emptied, "s1")


@pytest.mark.parametrize("change", [drained, without_shard])
def test_unknown_shard(change: object) -> None:
    with pytest.raises(UnknownShard):
        change(fleet("s0"), "s9")  # type: ignore[operator]
