"""What adding, draining and removing shards makes of a topology."""

from dataclasses import replace

import pytest

from shardrouter.control import drained, with_shard, without_shard
from shardrouter.errors import SettingsError, UnknownShard
from shardrouter.topology import (
    KeyColumn,
    KeyType,
    Motion,
    Node,
    NodeId,
    Position,
    Role,
    Shard,
    ShardId,
    SlotsInMotion,
    Table,
    TableKind,
    Topology,
)
from tests.support.move_rows import some_move

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


def in_motion(topology: Topology, source: str, target: str, many: int = 2) -> SlotsInMotion:
    slots = topology.slots_of(ShardId(source))[:many]
    return SlotsInMotion(7, slots, ShardId(source), ShardId(target), Motion.PAUSED)


@pytest.mark.parametrize("tables", [(), (ORDERS,)])
def test_slots_in_motion_stay_as_they_are(tables: tuple[Table, ...]) -> None:
    two = fleet("s0", "s1", tables=tables)
    moving = two.with_motion(in_motion(two, "s0", "s1"))
    for after in (with_shard(moving, shard("s2"), 64), drained(moving, "s0")):
        assert after.motions == moving.motions
        assert after.owners == moving.owners


@pytest.mark.parametrize("name", ["s1", "s2"])
def test_a_shard_in_a_move_is_not_removed(name: str) -> None:
    three = fleet("s0", "s1", tables=(ORDERS,))
    three = with_shard(three, shard("s2"), 64)
    moving = three.with_motion(in_motion(three, "s1", "s2", 32))
    with pytest.raises(SettingsError, match="it takes part in move 7") as caught:
        without_shard(moving, name)
    assert "shardrouter move show 7" in str(caught.value)
    assert without_shard(moving.without_motion(7), "s2").shards == three.shards[:2]


def test_a_shard_of_a_move_that_is_only_planned_is_not_removed() -> None:
    three = with_shard(fleet("s0", "s1", tables=(ORDERS,)), shard("s2"), 64)
    planned = replace(some_move(), target=ShardId("s2"))
    with pytest.raises(SettingsError, match=f"it takes part in move {planned.number}"):
        without_shard(three, "s2", [planned])
    other = some_move()
    assert without_shard(three, "s2", [other]).shards == three.shards[:2]


def test_others_are_removed_and_take_their_floor_along() -> None:
    three = with_shard(fleet("s0", "s1", tables=(ORDERS,)), shard("s2"), 64)
    moving = three.with_motion(
        in_motion(three, "s0", "s1"),
        floors=((ShardId("s1"), Position(1, 5)), (ShardId("s2"), Position(1, 7))),
    )
    after = without_shard(moving, "s2")
    assert after.motions == moving.motions
    assert after.floors == ((ShardId("s1"), Position(1, 5)),)
