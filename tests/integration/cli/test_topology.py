"""``shardrouter topology``: now, before, and what changed."""

from dataclasses import replace
from uuid import uuid4

from shardrouter.catalog import CatalogStore, Registration
from shardrouter.topology import Epoch, Motion, Position, SlotsInMotion
from tests.integration.cli.conftest import PASSWORD, Run


def test_empty_fleet(founded: Run) -> None:
    said = founded("topology", "show", "-o", "json").data
    assert (said["epoch"], said["slots"], said["shards"], said["tables"]) == (0, 64, [], [])
    assert "no shards yet" in founded("topology", "show").out
    assert founded("topology", "history").out == "no topology was published yet\n"
    assert founded("topology", "history", "-o", "json").data == []
    assert founded("topology", "diff").out == "epochs 0 and 0 are the same\n"
    assert founded("topology", "show", "--epoch", "1").code == 1


def test_show(two_shards: Run, store_now: CatalogStore) -> None:
    fleet = store_now.fleet()
    me = Registration(uuid4(), fleet.id, "library", "web1:77", "0.1.0")
    store_now.heartbeat(me, Epoch(2), 15.0, Epoch(1), Epoch(2))
    two_shards("table", "add", "countries", "--reference")
    said = two_shards("topology", "show", "-o", "json").data
    assert (said["fleet"], said["epoch"]) == (str(fleet.id), 3)
    assert [(r["router"], r["epoch"]) for r in said["routers"]] == [("web1:77", 2)]
    assert said["routers"][0]["drained_epoch"] == 1
    assert said["routers"][0]["writers_drained_epoch"] == 2
    topology = store_now.load()
    for shard in said["shards"]:
        assert slots_in(shard["owns"]) == list(topology.slots_of(shard["shard"]))
    table = two_shards("topology", "show").out
    for word in (str(fleet.id), "epoch 3", "s0-p, s0-r1", "public.countries", "web1:77"):
        assert word in table
    before = two_shards("topology", "show", "--epoch", "1").out
    assert "epoch 1 (now 3)" in before
    assert "s1" not in before


def test_show_tells_of_moves(two_shards: Run, store_now: CatalogStore) -> None:
    now = store_now.load()
    s0, s1 = (shard.id for shard in now.shards)
    slots = now.slots_of(s0)[:3]
    motion = SlotsInMotion(7, slots, s0, s1, Motion.PAUSED)
    new = now.with_motion(motion, floors=((s1, Position(1, 0x10)),))
    store_now.publish(new, expected=now.epoch, actor="a", reason="r")
    said = two_shards("topology", "show", "-o", "json").data
    (shown,) = said["motions"]
    assert slots_in(shown.pop("slots")) == list(slots)
    assert shown == {"move": 7, "motion": "paused", "from": "s0", "to": "s1", "owner": "s0"}
    assert said["floors"] == {"s1": "1:0/10"}
    assert "paused" in two_shards("topology", "show").out
    assert two_shards("topology", "show", "--epoch", "1", "-o", "json").data["motions"] == []


def slots_in(ranges: str) -> list[int]:
    found: list[int] = []
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def test_history(two_shards: Run) -> None:
    rows = two_shards("topology", "history", "-o", "json").data
    assert [(row["epoch"], row["reason"]) for row in rows] == [
        (2, "shard add s1"),
        (1, "shard add s0"),
    ]
    assert len(two_shards("topology", "history", "-n", "1", "-o", "json").data) == 1
    assert two_shards("topology", "history", "-n", "0").code == 2


def test_diff(two_shards: Run, store_now: CatalogStore) -> None:
    last = two_shards("topology", "diff", "-o", "json").data
    assert (last["before"], last["after"]) == (1, 2)
    assert [(c["what"], c["name"]) for c in last["changes"]] == [
        ("shard", "s1"),
        ("node", "s1/s1-p"),
        ("node", "s1/s1-r1"),
        ("slots", "32 slots"),
    ]
    whole = two_shards("topology", "diff", "0", "2", "-o", "json").data["changes"]
    assert sum(change["what"] == "node" for change in whole) == 4
    back = two_shards("topology", "diff", "2", "1", "-o", "json").data["changes"]
    assert back[0] == {"what": "shard", "name": "s1", "before": "weight 1", "after": ""}
    assert "the same" in two_shards("topology", "diff", "2", "2").out
    assert two_shards("topology", "diff", "2", "9").code == 1


def test_changed_password_shows_as_a_change_without_the_password(
    two_shards: Run, store_now: CatalogStore
) -> None:
    now = store_now.load()
    shard = now.shard("s0")
    other = replace(shard.primary, dsn=shard.primary.dsn.replace(PASSWORD, "other"))
    changed = replace(shard, nodes=(other, *shard.replicas))
    store_now.publish(
        now.next(shards=(changed, now.shard("s1"))), expected=now.epoch, actor="a", reason="r"
    )
    (change,) = two_shards("topology", "diff", "-o", "json").data["changes"]
    assert change["name"] == "s0/s0-p"
    assert change["after"].endswith("(its password changed)")
