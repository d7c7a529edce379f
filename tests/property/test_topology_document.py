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


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    slots = draw(st.sampled_from([16, 64, 256]))
    owners = draw(st.lists(st.sampled_from(NAMES), min_size=slots, max_size=slots))
    motions = []
    for move, source in enumerate(draw(st.sets(st.sampled_from(NAMES)))):
        owned = [Slot(slot) for slot, owner in enumerate(owners) if owner == source]
        if not owned:
            continue
        chosen = sorted(draw(st.sets(st.sampled_from(owned), min_size=1)))
        target = draw(st.sampled_from([name for name in NAMES if name != source]))
        kind = draw(st.sampled_from(Motion))
        ends = (target, source) if kind is Motion.MOVED else (source, target)
        if kind is Motion.PAUSED and draw(st.booleans()):
            ends = (target, source)  # after the commit
        motions.append(SlotsInMotion(move, tuple(chosen), *ends, kind))
    positions = st.builds(Position, st.integers(1, 2**31), st.integers(0, 2**64 - 1))
    floors = draw(st.dictionaries(st.sampled_from(NAMES), positions))
    keys = st.lists(st.builds(KeyColumn, st.text(min_size=1), st.sampled_from(KeyType)), min_size=1)
    tables = draw(
        st.lists(
            st.builds(
                Table,
                st.text(min_size=1),
                st.just(TableKind.SHARDED),
                keys.map(tuple),
                schema=st.text(min_size=1),
            ),
            max_size=2,
            unique_by=lambda table: table.full_name,
        )
    )
    return Topology(
        epoch=Epoch(draw(st.integers(0, 2**63 - 1))),
        shards=tuple(
            Shard(
                name,
                (Node(NodeId(f"{name}-p"), Role.PRIMARY, draw(st.text()), draw(st.text())),),
                draw(st.integers(0, 1000)),
            )
            for name in NAMES
        ),
        owners=tuple(owners),
        tables=tuple(tables),
        motions=tuple(motions),
        floors=tuple(floors.items()),
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
