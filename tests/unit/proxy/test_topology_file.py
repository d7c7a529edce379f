"""A topology in a file: both forms are read, mistakes are named, slots never change hands."""

from dataclasses import replace
from pathlib import Path

import pytest

from shardrouter.errors import SettingsError
from shardrouter.proxy.topology_file import read_topology_file, succeeding
from shardrouter.proxy.worker.static_topology import StaticTopology
from shardrouter.topology import (
    Epoch,
    KeyColumn,
    KeyType,
    Motion,
    Role,
    ShardId,
    SlotsInMotion,
    TableKind,
    Topology,
)

FLEET = """
slots = 64
[[shards]]
id = "s0"
primary = "postgresql://db0/app"
replicas = ["postgresql://db1/app", "postgresql://db2/app"]
weight = 3
[[shards]]
id = "s1"
primary = "host=db3"
[[tables]]
name = "orders"
key = ["customer_id:int8", "region : text"]
[[tables]]
name = "shop.countries"
reference = true
[[tables]]
name = "audit"
shard = "s1"
"""


def read(path: Path, text: str) -> Topology:
    file = path / "fleet"
    file.write_text(text)
    return read_topology_file(file)


def test_toml_for_people(tmp_path: Path) -> None:
    topology = read(tmp_path, FLEET)
    assert topology.epoch == 1
    assert topology.slot_counts() == {"s0": 48, "s1": 16}
    nodes = [(node.id, node.role, node.dsn) for _, node in topology.nodes()]
    assert nodes == [
        ("s0-p", Role.PRIMARY, "postgresql://db0/app"),
        ("s0-r1", Role.REPLICA, "postgresql://db1/app"),
        ("s0-r2", Role.REPLICA, "postgresql://db2/app"),
        ("s1-p", Role.PRIMARY, "host=db3"),
    ]
    orders, countries, audit = topology.tables
    assert orders.key == (
        KeyColumn("customer_id", KeyType.INT8),
        KeyColumn("region", KeyType.TEXT),
    )
    assert (countries.full_name, countries.kind) == ("shop.countries", TableKind.REFERENCE)
    assert (audit.kind, audit.shard) == (TableKind.LOCAL, "s1")


def test_json_as_it_was_written(tmp_path: Path) -> None:
    topology = replace(read(tmp_path, FLEET), epoch=Epoch(17))
    assert read(tmp_path, f"\n {topology.to_json()}") == topology


def test_a_topology_in_motion_is_refused(tmp_path: Path) -> None:
    topology = read(tmp_path, FLEET)
    slots = topology.slots_of(ShardId("s0"))[:2]
    motion = SlotsInMotion(7, slots, ShardId("s0"), ShardId("s1"), Motion.COPYING)
    with pytest.raises(SettingsError, match="move 7 was under way"):
        read(tmp_path, topology.with_motion(motion).to_json())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "shards: Field required"),
        ("[[shards", "is not TOML"),
        ("shards = []", "shards: Tuple should have at least 1 item"),
        ('[[shards]]\nid = "s0"', r"shards\.0\.primary: Field required"),
        ('[[shards]]\nid = "S 0"\nprimary = "host=a"', "'S 0' is not a name"),
        ('[[shards]]\nid = "s0"\nprimary = "host=a"\nreplica = []', "shards.0.replica: Extra"),
        ('slots = 5\n[[shards]]\nid = "s0"\nprimary = "host=a"', "slots = 5 is not a power"),
        ('[[shards]]\nid = "s0"\nprimary = "hots=a"', "node s0-p is not a connection string"),
        ('[[shards]]\nid = "s0"\nprimary = "host=a"\nweight = 0', "no shard"),
        ('{"format": 99}', "not a topology of format"),
        ("{", "not a topology"),
        (FLEET.replace(":int8", ":blob"), "customer_id:blob"),
        (FLEET.replace('shard = "s1"', 'shard = "s7"'), "unknown shard 's7'"),
        (FLEET.replace("reference = true", ""), r"shop\.countries needs one of"),
        (FLEET.replace('"s1"', '"s0"'), "'s0' is used 2 times"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        read(tmp_path, text)
    assert caught.value.hint


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        read_topology_file(tmp_path / "none")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_topology_file(tmp_path / "binary")


def test_passwords_in_the_file_are_not_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, FLEET.replace("host=db3", "host=db3 passwd=hunter2"))
    assert "hunter2" not in str(caught.value)


def test_the_same_again_keeps_the_epoch_and_a_change_raises_it(tmp_path: Path) -> None:
    running = replace(read(tmp_path, FLEET), epoch=Epoch(5))
    assert succeeding(running, read(tmp_path, FLEET)) == running
    changed = succeeding(running, read(tmp_path, FLEET.replace("db2", "db9")))
    assert changed.epoch == 6
    assert succeeding(running, replace(changed, epoch=Epoch(40))).epoch == 40


def test_slots_do_not_change_hands(tmp_path: Path) -> None:
    running = read(tmp_path, FLEET)
    with pytest.raises(SettingsError, match="nothing moves rows"):
        succeeding(running, read(tmp_path, FLEET.replace("weight = 3", "weight = 1")))
    more = FLEET + '[[shards]]\nid = "s2"\nprimary = "host=db4"\nweight = 0\n'
    assert len(succeeding(running, read(tmp_path, more)).shards) == 3


def test_who_watches_is_told_of_changes_only(tmp_path: Path) -> None:
    first = read(tmp_path, FLEET)
    source = StaticTopology(first)
    seen: list[Topology] = []
    source.on_change(seen.append)
    source.request_refresh()
    source.replace(read(tmp_path, FLEET))
    assert seen == []
    second = first.next(shards=first.shards[:1], owners=(ShardId("s0"),) * 64, tables=())
    source.replace(second)
    assert seen == [second]
    assert source.current() is second
