"""The words for what differs between two topologies."""

from dataclasses import replace

from shardrouter.cli.topology_changes import Change, changes_between
from shardrouter.topology import Node, NodeId, Role, ShardId, Table, TableKind
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
