"""Whatever a topology says, its written form says it too."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from shardrouter.topology import (
    Epoch,
    KeyColumn,
    KeyType,
    Motion,
    Node,
    NodeId,
    Position,
    Role,
    Shard,
    ShardId,
    Slot,
    SlotsInMotion,
    Table,
    TableKind,
    Topology,
    slot_ranges,
    slots_of_ranges,
)

NAMES = [ShardId(name) for name in ("s0", "s1", "a-long_name", "z9")]
LAWS = settings(deadline=None, max_examples=50)
SLOT_SETS = st.sets(st.integers(0, 16383)).map(sorted)


POSITIONS = st.builds(Position, st.integers(1, 2**31), st.integers(0, 2**64 - 1))
KEYS = st.lists(st.builds(KeyColumn, st.text(min_size=1), st.sampled_from(KeyType)), min_size=1)
NAME = st.text(min_size=1)
TABLE = st.builds(Table, NAME, st.just(TableKind.SHARDED), KEYS.map(tuple), schema=NAME)
TABLES = st.lists(TABLE, max_size=2, unique_by=lambda table: table.full_name)


@st.composite
def shards(draw: st.DrawFn, name: ShardId) -> Shard:
    node = Node(NodeId(f"{name}-p"), Role.PRIMARY, draw(st.text()), draw(st.text()))
    return Shard(name, (node,), draw(st.integers(0, 1000)))


@st.composite
def motions_of(draw: st.DrawFn, move: int, owner: ShardId, owned: list[Slot]) -> SlotsInMotion:
    """A motion of slots of an owner, who has them still or has them already."""
    chosen = sorted(draw(st.sets(st.sampled_from(owned), min_size=1)))
    other = draw(st.sampled_from([name for name in NAMES if name != owner]))
    kind = draw(st.sampled_from(Motion))
    is_target = kind is Motion.MOVED or (kind is Motion.PAUSED and draw(st.booleans()))
    ends = (other, owner) if is_target else (owner, other)
    return SlotsInMotion(move, tuple(chosen), *ends, kind)


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    slots = draw(st.sampled_from([16, 64, 256]))
    owners = draw(st.lists(st.sampled_from(NAMES), min_size=slots, max_size=slots))
    movers = draw(st.sets(st.sampled_from(owners)))
    owned = {name: [Slot(i) for i, owner in enumerate(owners) if owner == name] for name in movers}
    return Topology(
        epoch=Epoch(draw(st.integers(0, 2**63 - 1))),
        shards=tuple(draw(shards(name)) for name in NAMES),
        owners=tuple(owners),
        tables=tuple(draw(TABLES)),
        motions=tuple(
            draw(motions_of(move, *item)) for move, item in enumerate(sorted(owned.items()))
        ),
        floors=tuple(draw(st.dictionaries(st.sampled_from(NAMES), POSITIONS)).items()),
    )


@LAWS
@given(topologies())
def test_there_and_back(topology: Topology) -> None:
    assert Topology.from_json(topology.to_json()) == topology
    document = json.loads(json.dumps(topology.to_document()))
    # A jsonb column keeps no order of keys.
    assert Topology.from_document(dict(reversed(document.items()))) == topology
    assert document["format"] == (2 if topology.motions or topology.floors else 1)


@LAWS
@given(topologies())
def test_what_routers_ask_is_what_the_motions_say(topology: Topology) -> None:
    by_slot = {slot: motion for motion in topology.motions for slot in motion.slots}
    for number in range(topology.slots):
        slot = Slot(number)
        motion = by_slot.get(slot)
        assert (slot in topology.moving_slots) is (motion is not None)
        assert topology.is_paused(slot) is (motion is not None and motion.motion is Motion.PAUSED)
        if motion is not None:
            ends = {motion.source, motion.target}
            stranger = (ends - {topology.owners[slot]}).pop()
            assert topology.strangers_on(stranger)
    for shard in topology.shards:
        involved = any(shard.id in (m.source, m.target) for m in topology.motions)
        assert involved or not topology.strangers_on(shard.id)


@LAWS
@given(SLOT_SETS)
def test_slots_as_text(slots: list[int]) -> None:
    assert list(slots_of_ranges(slot_ranges(slots))) == slots
