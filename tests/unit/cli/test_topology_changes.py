"""The words for what differs between two topologies."""

import itertools
from dataclasses import replace

from shardrouter.cli.topology_changes import Change, changes_between
from shardrouter.topology import (
    Motion,
    Node,
    NodeId,
    Position,
    Role,
    ShardId,
    Slot,
    SlotsInMotion,
    Table,
    TableKind,
)
from tests.support.topologies import small_topology

BASE = small_topology()


def test_nothing() -> None:
    assert changes_between(None, None) == []
    assert changes_between(BASE, BASE) == []
    assert changes_between(BASE, BASE.next()) == []


def test_the_first_topology() -> None:
    assert changes_between(None, BASE) == [
        Change("shard", "s0", "", "weight 1"),
        Change("shard", "s1", "", "weight 1"),
        Change("node", "s0/s0-p", "", "primary host=s0"),
        Change("node", "s1/s1-p", "", "primary host=s1"),
        Change("slots", "s0", "", "32 slots"),
        Change("slots", "s1", "", "32 slots"),
    ]


def test_back_to_nothing() -> None:
    gone = changes_between(BASE, None)
    assert {change.after for change in gone} == {""}
    assert [change.what for change in gone] == ["shard", "shard", "node", "node"]


def test_slots_are_counted_by_source_and_target() -> None:
    owners = tuple(ShardId("s1") if slot < 10 else o for slot, o in enumerate(BASE.owners))
    assert changes_between(BASE, BASE.next(owners=owners)) == [
        Change("slots", "5 slots", "s0", "s1")
    ]


def test_weight_zone_and_table() -> None:
    s0, s1 = BASE.shards
    moved = replace(s1, nodes=(replace(s1.primary, zone="north"),))
    table = Table("countries", TableKind.REFERENCE)
    after = BASE.next(shards=(replace(s0, weight=0), moved), tables=(table,))
    assert changes_between(BASE, after) == [
        Change("shard", "s0", "weight 1", "weight 0"),
        Change("node", "s1/s1-p", "primary host=s1", "primary in north host=s1"),
        Change("table", "public.countries", "", "a reference table"),
    ]


def test_passwords_never_show() -> None:
    s0, s1 = BASE.shards

    def with_password(word: str) -> object:
        node = Node(NodeId("s0-p"), Role.PRIMARY, f"host=s0 password={word}")
        return BASE.next(shards=(replace(s0, nodes=(node,)), s1))

    (change,) = changes_between(with_password("one"), with_password("two"))  # type: ignore[arg-type]
    assert change.before == "primary password=*** host=s0"
    assert change.after == "primary password=*** host=s0 (its password changed)"


def test_a_cutover_step_by_step() -> None:
    s0, s1, slots = ShardId("s0"), ShardId("s1"), (Slot(0), Slot(2))

    def motion(kind: Motion) -> SlotsInMotion:
        return SlotsInMotion(7, slots, s0, s1, kind)

    copying = BASE.with_motion(motion(Motion.COPYING))
    paused = copying.with_motion(motion(Motion.PAUSED))
    committed = paused.next(owners=paused.owners_with(slots, s1))
    moved = committed.with_motion(
        motion(Motion.MOVED), floors=committed.floors_with(s1, Position(1, 0x1F0))
    )
    words = "2 slots copying from s0 to s1"
    steps = [BASE, copying, paused, committed, moved, moved.without_motion(7)]
    assert [changes_between(*pair) for pair in itertools.pairwise(steps)] == [
        [Change("motion", "move 7", "", words)],
        [Change("motion", "move 7", words, words.replace("copying", "paused"))],
        [Change("slots", "2 slots", "s0", "s1")],
        [
            Change(
                "motion",
                "move 7",
                words.replace("copying", "paused"),
                words.replace("copying", "moved"),
            ),
            Change("floor", "s1", "", "1:0/1F0"),
        ],
        [Change("motion", "move 7", words.replace("copying", "moved"), "")],
    ]


def test_other_slots_of_a_motion() -> None:
    def moving(slot: int) -> object:
        return BASE.with_motion(
            SlotsInMotion(7, (Slot(slot),), ShardId("s0"), ShardId("s1"), Motion.COPYING)
        )

    (change,) = changes_between(moving(0), moving(2))  # type: ignore[arg-type]
    assert change.after == "1 slots copying from s0 to s1 (its slots changed)"
