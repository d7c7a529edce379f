"""Single plans; the general laws are property tests."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from shardrouter.errors import MoveRefused, SettingsError, UnknownShard
from shardrouter.rebalance.planning.plan import Measure, Proposal, Wanted, propose
from shardrouter.topology import ShardId, Slot, Topology
from tests.support.topologies import small_topology

S0, S1, S2, S3 = (ShardId(f"s{n}") for n in range(4))


def weighted(topology: Topology, weights: Mapping[ShardId, int]) -> Topology:
    shards = tuple(replace(s, weight=weights.get(s.id, s.weight)) for s in topology.shards)
    return replace(topology, shards=shards)


def grown(slots: int = 64) -> Topology:
    """Two shards that hold all, and a third that has just joined."""
    three = small_topology(slots=slots, shards=3)
    return replace(three, owners=small_topology(slots=slots).owners)


def moved(proposal: Proposal) -> int:
    return sum(len(batch.slots) for batch in proposal.batches)


def ways(proposal: Proposal) -> list[tuple[str, str, int]]:
    return [(batch.source, batch.target, len(batch.slots)) for batch in proposal.batches]


def test_an_even_fleet_needs_no_move() -> None:
    proposal = propose(small_topology(), Wanted())
    assert (proposal.batches, proposal.imbalance_before, proposal.imbalance_after) == ((), 1.0, 1.0)


def test_a_third_shard_gets_its_third_and_no_other_slot_moves() -> None:
    proposal = propose(grown(), Wanted())
    assert {(s, t) for s, t, _ in ways(proposal)} == {(S0, S2), (S1, S2)}
    assert moved(proposal) == 21  # 64 / 3, rounded down: the others keep 22 and 21
    assert proposal.imbalance_before == pytest.approx(32 / (64 / 3))
    assert proposal.imbalance_after == pytest.approx(22 / (64 / 3))


def test_a_drained_shard_gives_all_and_goes_first() -> None:
    topology = weighted(grown(), {S1: 0})
    proposal = propose(topology, Wanted())
    assert proposal.batches[0].source == S1
    assert sum(n for s, _, n in ways(proposal) if s == S1) == 32
    assert proposal.left_to_drain == 0
    assert moved(proposal) == 32


def test_stopping_early_tells_what_is_left() -> None:
    topology = weighted(grown(), {S1: 0})
    proposal = propose(topology, Wanted(max_moves=1, slots_per_move=10))
    assert ways(proposal) == [(S1, S2, 10)]
    assert proposal.left_to_drain == 22


def test_no_moves_wanted() -> None:
    assert propose(grown(), Wanted(max_moves=0)).batches == ()


def test_batches_alternate_between_the_fullest_sources() -> None:
    proposal = propose(grown(), Wanted(slots_per_move=4))
    assert [batch.source for batch in proposal.batches[:4]] == [S0, S1, S0, S1]


def test_an_excluded_shard_neither_gives_nor_takes() -> None:
    topology = replace(grown(), owners=(S0,) * 40 + (S1,) * 24)
    proposal = propose(topology, Wanted(excluded_shards=frozenset({S0})))
    assert ways(proposal) == [(S1, S2, 12)]
    proposal = propose(topology, Wanted(excluded_shards=frozenset({S2})))
    assert ways(proposal) == [(S0, S1, 8)]


def test_excluded_slots_stay() -> None:
    held = frozenset(Slot(n) for n in range(0, 64, 2))  # all of s0
    proposal = propose(grown(), Wanted(excluded_slots=held))
    assert ways(proposal) == [(S1, S2, 11)]


def test_slots_underway_count_where_they_will_be_and_are_left_alone() -> None:
    first = propose(grown(), Wanted(max_moves=1))
    underway = dict.fromkeys(first.batches[0].slots, S2)
    second = propose(grown(), Wanted(), underway=underway)
    assert not underway.keys() & {slot for batch in second.batches for slot in batch.slots}
    assert moved(first) + moved(second) == 21


def test_bytes_even_out_without_moves_for_the_count() -> None:
    loads = [0.0] * 64
    loads[0], loads[2], loads[1] = 70.0, 30.0, 20.0
    proposal = propose(small_topology(), Wanted(Measure.BYTES), loads)
    assert ways(proposal) == [(S0, S1, 1)]
    assert proposal.imbalance_before == pytest.approx(100 / 60)
    assert proposal.imbalance_after == pytest.approx(70 / 60)


def test_a_new_shard_gets_its_count_first_then_load_evens_out() -> None:
    loads = [1.0] * 64
    proposal = propose(grown(), Wanted(Measure.LOAD), loads)
    assert moved(proposal) == 21


def test_a_hot_slot_is_told() -> None:
    loads = [1.0] * 64
    loads[4] = 500.0
    proposal = propose(grown(), Wanted(Measure.LOAD), loads)
    assert proposal.hot == (4,)


def test_an_excluded_shard_is_no_part_of_the_load_pass() -> None:
    loads = [1.0 if slot % 2 else 100.0 for slot in range(64)]
    proposal = propose(small_topology(shards=2), Wanted(Measure.LOAD, excluded_shards={S0}), loads)  # type: ignore[arg-type]
    assert proposal.batches == ()


def test_what_cannot_be_planned_is_refused() -> None:
    with pytest.raises(UnknownShard, match="s9"):
        propose(grown(), Wanted(excluded_shards=frozenset({ShardId("s9")})))
    with pytest.raises(MoveRefused, match="no slot 64"):
        propose(grown(), Wanted(excluded_slots=frozenset({Slot(64)})))
    with pytest.raises(SettingsError, match="no shard can take slots"):
        propose(weighted(grown(), {S0: 0, S1: 0, S2: 0}), Wanted())
