"""What slots in motion mean for open work: who waits, who reads where, who is still to be over."""

from dataclasses import replace

import pytest

from shardrouter.client.stay import Stay, held_by, keeps_readers, keeps_writers, needs_primary
from shardrouter.topology import Epoch, Motion, ShardId, Slot, SlotsInMotion, Topology
from tests.support.topologies import small_topology

S0, S1, S2 = ShardId("s0"), ShardId("s1"), ShardId("s2")
MOVING, OTHER = Slot(3), Slot(6)  # of three shards s0 owns both
PLAIN = small_topology(shards=3)


def at(motion: Motion, owner: ShardId) -> Topology:
    moved = SlotsInMotion(7, (MOVING,), S0, S1, motion)
    return PLAIN.with_motion(moved, owners=PLAIN.owners_with([MOVING], owner))


COPYING, MOVED = at(Motion.COPYING, S0), at(Motion.MOVED, S1)
BEFORE, AFTER = at(Motion.PAUSED, S0), at(Motion.PAUSED, S1)


def writer(**how: object) -> Stay:
    return Stay(writes=True, waits=True, **how)  # type: ignore[arg-type]


@pytest.mark.parametrize("topology", [BEFORE, AFTER])
def test_writers_of_paused_slots_are_held(topology: Topology) -> None:
    held = held_by(topology, writer(slots=(MOVING,), shard=S0))
    assert held is not None and held.move == 7
    assert held_by(topology, writer(slots=(OTHER, MOVING))) is held
    assert held_by(topology, writer(slots=(OTHER,), shard=S0)) is None


@pytest.mark.parametrize(("topology", "owner"), [(BEFORE, S0), (AFTER, S1)])
def test_writers_of_a_whole_shard_are_held_where_the_slots_are(
    topology: Topology, owner: ShardId
) -> None:
    held = [shard for shard in (S0, S1, S2) if held_by(topology, writer(shard=shard))]
    assert held == [owner]
    assert held_by(topology, writer()) is not None, "all shards"


@pytest.mark.parametrize("topology", [PLAIN, COPYING, MOVED])
def test_nothing_is_held_unless_paused(topology: Topology) -> None:
    for stay in (writer(slots=(MOVING,)), writer(shard=S0), writer(shard=S1), writer()):
        assert held_by(topology, stay) is None
        assert not needs_primary(topology, stay)
        assert not keeps_writers(topology, stay)


def test_reads_go_on_at_the_owners_primary_unless_only_replicas_may_answer() -> None:
    for topology in (BEFORE, AFTER):
        assert held_by(topology, Stay(slots=(MOVING,))) is None
        assert needs_primary(topology, Stay(slots=(MOVING,)))
        assert not needs_primary(topology, Stay(slots=(OTHER,)))
        assert held_by(topology, Stay(slots=(MOVING,), waits=True)) is not None
    assert needs_primary(AFTER, Stay(shard=S1)) and not needs_primary(AFTER, Stay(shard=S0))


def test_writers_that_began_earlier_keep_the_drain_waiting() -> None:
    for stay, keeps in (
        (writer(slots=(MOVING,)), True),
        (writer(slots=(OTHER,)), False),
        (writer(shard=S0), True),
        (writer(shard=S1), False),
        (writer(), True),
        (Stay(slots=(MOVING,)), False),
    ):
        assert keeps_writers(BEFORE, stay) is keeps, "it is not known yet by what it routes"
        assert keeps_writers(BEFORE, replace(stay, topology=PLAIN)) is keeps
        assert not keeps_writers(BEFORE, replace(stay, topology=BEFORE))


def test_readers_of_any_shard_that_takes_part_are_waited_for() -> None:
    for stay, keeps in (
        (Stay(), True),
        (Stay(slots=(MOVING,)), True),
        (Stay(slots=(OTHER,)), False),
        (writer(slots=(MOVING,)), True),
        (Stay(shard=S0), True),
        (Stay(shard=S1), True),
        (Stay(shard=S2), False),
    ):
        for topology in (COPYING, BEFORE, AFTER, MOVED):
            later = replace(topology, epoch=Epoch(9))
            assert keeps_readers(later, replace(stay, topology=topology)) is keeps
            assert not keeps_readers(later, replace(stay, topology=later))
