"""Slots in motion within a topology: what is valid, what routers ask, how it is written."""

import json
from dataclasses import replace

import pytest

from shardrouter.errors import SettingsError
from shardrouter.topology import (
    Floors,
    Motion,
    Position,
    ShardId,
    Slot,
    SlotsInMotion,
    Topology,
)
from tests.support.topologies import small_topology

S0, S1, S2 = ShardId("s0"), ShardId("s1"), ShardId("s2")
BASE = replace(small_topology(shards=3), owners=(S0,) * 32 + (S1,) * 16 + (S2,) * 16)
SLOTS = (Slot(3), Slot(4), Slot(9))


def motion(kind: Motion = Motion.COPYING, **changes: object) -> SlotsInMotion:
    return replace(SlotsInMotion(7, SLOTS, S0, S1, kind), **changes)  # type: ignore[arg-type]


def owned_by_target(kind: Motion) -> Topology:
    return BASE.with_motion(motion(kind), owners=BASE.owners_with(SLOTS, S1))


def test_a_topology_without_motions_says_no_to_all() -> None:
    assert BASE.paused_slots == BASE.moving_slots == frozenset()
    assert not BASE.is_paused(SLOTS[0])
    assert BASE.motion_of(7) is None
    assert not any(BASE.strangers_on(shard.id) for shard in BASE.shards)
    assert BASE.floor(S0) is None


@pytest.mark.parametrize(
    ("topology", "paused", "stranger"),
    [
        (BASE.with_motion(motion(Motion.COPYING)), False, S1),
        (BASE.with_motion(motion(Motion.PAUSED)), True, S1),
        (owned_by_target(Motion.PAUSED), True, S0),
        (owned_by_target(Motion.MOVED), False, S0),
    ],
    ids=["copying", "paused", "paused at target", "moved"],
)
def test_who_is_paused_and_who_holds_foreign_rows(
    topology: Topology, paused: bool, stranger: ShardId
) -> None:
    assert topology.epoch == BASE.epoch + 1
    assert topology.moving_slots == frozenset(SLOTS)
    assert topology.paused_slots == (frozenset(SLOTS) if paused else frozenset())
    assert topology.is_paused(SLOTS[1]) is paused
    assert not topology.is_paused(Slot(5))
    assert [s.id for s in topology.shards if topology.strangers_on(s.id)] == [stranger]
    found = topology.motion_of(7)
    assert found is not None
    assert found.stranger(topology.owners) == stranger
    assert found.owner(topology.owners) == topology.owner(SLOTS[0]).id


def test_a_move_has_one_motion_which_goes_in_the_end() -> None:
    first = BASE.with_motion(motion())
    paused = first.with_motion(motion(Motion.PAUSED))
    assert [m.motion for m in paused.motions] == [Motion.PAUSED]
    assert paused.next(shards=BASE.shards).motions == paused.motions
    without = paused.without_motion(7)
    assert (without.motions, without.epoch) == ((), BASE.epoch + 3)
    assert paused.without_motion(8).motions == paused.motions


def test_moves_side_by_side() -> None:
    other = SlotsInMotion(8, (Slot(40),), S1, S2, Motion.PAUSED)
    both = BASE.with_motion(motion()).with_motion(other)
    assert both.paused_slots == {40}
    assert both.moving_slots == {3, 4, 9, 40}
    assert [s.id for s in both.shards if both.strangers_on(s.id)] == [S1, S2]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (motion(source=S2), r"copying from s2 to s1 but owned by s0"),
        (motion(Motion.MOVED), "moved from s0 to s1 but owned by s0"),
        (motion(slots=(Slot(31), Slot(32))), "owned by s0 and s1"),
        (motion(Motion.PAUSED, slots=(Slot(31), Slot(32))), "owned by s0 and s1"),
        (motion(slots=()), "no slots are in motion"),
        (motion(slots=(Slot(4), Slot(3))), "ascending"),
        (motion(slots=(Slot(4), Slot(4))), "slot 4 is in 2 motions"),
        (motion(slots=(Slot(64),)), "not all from 0 to 63"),
        (motion(slots=(Slot(-1), Slot(3))), "not all from 0 to 63"),
        (motion(target=S0), "both s0"),
        (motion(target=ShardId("s9")), "'s9' is an unknown shard"),
    ],
)
def test_motions_that_cannot_be(bad: SlotsInMotion, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        BASE.with_motion(bad)


def test_a_slot_is_in_one_motion_and_a_move_has_one() -> None:
    with pytest.raises(SettingsError, match="slot 4 is in 2 motions"):
        BASE.next(motions=(motion(), motion(move=8, slots=(Slot(4),))))
    with pytest.raises(SettingsError, match="move 7 is in motion 2 times"):
        BASE.next(motions=(motion(), motion(slots=(Slot(20),))))


def test_owners_change_only_as_a_motion_says() -> None:
    copying = BASE.with_motion(motion())
    with pytest.raises(SettingsError, match="owned by s0 and s2"):
        copying.next(owners=copying.owners_with((SLOTS[0],), S2))
    with pytest.raises(SettingsError, match="unknown shard"):
        copying.next(shards=BASE.shards[:1], owners=(S0,) * 64)


def test_floors_rise_and_never_sink() -> None:
    first = BASE.next(floors=BASE.floors_with(S1, Position(1, 500)))
    assert first.floor(S1) == Position(1, 500)
    assert first.floors_with(S1, Position(1, 400)) == first.floors
    assert first.floors_with(S1, Position(2, 100)) == ((S1, Position(2, 100)),)
    both = first.next(floors=first.floors_with(S2, Position(1, 9)))
    assert (both.floor(S1), both.floor(S2)) == (Position(1, 500), Position(1, 9))


@pytest.mark.parametrize(
    ("floors", "says"),
    [
        (((ShardId("s9"), Position(1, 1)),), "unknown shard 's9' has a floor"),
        (((S0, Position(1, 1)), (S0, Position(1, 2))), "s0 has 2 floors"),
    ],
)
def test_floors_that_cannot_be(floors: Floors, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        BASE.next(floors=floors)


# The written form


def test_older_routers_read_a_topology_in_which_nothing_ever_moved() -> None:
    document = json.loads(BASE.to_json())
    assert document["format"] == 1
    assert document["owners"] == [["s0", 32], ["s1", 16], ["s2", 16]]
    assert document.keys() == {"format", "epoch", "shards", "owners", "tables"}


@pytest.mark.parametrize(
    "topology",
    [BASE.with_motion(motion()), BASE.next(floors=((S1, Position(1, 5)),))],
    ids=["motions", "floors"],
)
def test_older_routers_refuse_one_in_which_slots_moved(topology: Topology) -> None:
    document = json.loads(topology.to_json())
    assert document["format"] == 2
    assert Topology.from_json(topology.to_json()) == topology
    assert Topology.from_document(document) == topology


def test_writers_wait_for_a_short_document() -> None:
    scattered = small_topology(slots=4096)
    slots = tuple(Slot(slot) for slot in range(0, 4096, 2))
    moving = scattered.with_motion(SlotsInMotion(1, slots, S0, S1, Motion.PAUSED))
    assert len(moving.to_json()) < 30_000
    assert Topology.from_json(moving.to_json()) == moving


@pytest.mark.parametrize(
    "damage",
    [
        {"format": 3},
        {"format": None},
        {"owners": {"names": ["s0"], "slots": "AQA="}},
        {"owners": {"names": ["s0"], "slots": "not base64"}},
        {"owners": 7},
        {"motions": [{"move": 1}]},
        {"motions": [{"move": 1, "slots": "a-b", "source": "s0", "target": "s1", "motion": "x"}]},
        {"motions": 7},
        {"floors": [["s0", 1]]},
        {"shards": None},
    ],
)
def test_a_damaged_document_is_refused(damage: dict[str, object]) -> None:
    document = BASE.with_motion(motion()).to_document() | damage
    with pytest.raises(SettingsError):
        Topology.from_json(json.dumps(document))
    with pytest.raises(SettingsError):
        Topology.from_document(document)


@pytest.mark.parametrize("text", ["", "[]", "7", "null", '"x"', "{}"])
def test_what_is_no_topology(text: str) -> None:
    with pytest.raises(SettingsError, match="not a topology of format 1 or 2"):
        Topology.from_json(text)
