"""The laws of rebalancing plans: fewest slots, every stop safe, nothing but what was allowed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardrouter.rebalance.planning.plan import Batch, Measure, Proposal, Wanted, propose
from shardrouter.topology import ShardId, Slot, Topology
from tests.support.topologies import small_topology

LAWS = settings(deadline=None, max_examples=100)
SLOTS = 64
SHARDS = st.integers(2, 6)


@st.composite
def fleets(draw: st.DrawFn) -> Topology:
    """A fleet with any owners and weights; at least one shard takes slots."""
    made = small_topology(slots=SLOTS, shards=draw(SHARDS))
    weights = draw(st.lists(st.integers(0, 3), min_size=6, max_size=6).filter(lambda w: w[0] > 0))
    shards = tuple(replace(s, weight=w) for s, w in zip(made.shards, weights, strict=False))
    owner = st.sampled_from([shard.id for shard in shards])
    owners = draw(st.lists(owner, min_size=SLOTS, max_size=SLOTS))
    return replace(made, shards=shards, owners=tuple(owners))


LOADS = st.lists(st.integers(0, 500).map(float), min_size=SLOTS, max_size=SLOTS)
LIMITS = st.one_of(st.none(), st.integers(1, 9))


def after(topology: Topology, batches: Sequence[Batch]) -> list[ShardId]:
    owners = list(topology.owners)
    for batch in batches:
        for slot in batch.slots:
            assert owners[slot] == batch.source, "a batch takes what its source has"
            owners[slot] = batch.target
    return owners


def distance(topology: Topology, owners: Sequence[ShardId]) -> float:
    """How many slots are above the shares of the shards that have too many."""
    counts, whole = Counter(owners), sum(shard.weight for shard in topology.shards)
    return sum(max(0.0, counts[s.id] - SLOTS * s.weight / whole) for s in topology.shards)


@LAWS
@given(fleets(), LIMITS)
def test_by_count_no_plan_moves_fewer(topology: Topology, most: int | None) -> None:
    proposal = propose(topology, Wanted(slots_per_move=most))
    counts = Counter(after(topology, proposal.batches))
    whole = sum(shard.weight for shard in topology.shards)
    for shard in topology.shards:
        assert abs(counts[shard.id] - SLOTS * shard.weight / whole) < 1
    before = topology.slot_counts()
    fewest = sum(max(0, before[shard.id] - counts[shard.id]) for shard in topology.shards)
    assert sum(len(batch.slots) for batch in proposal.batches) == fewest
    assert proposal.left_to_drain == 0


@LAWS
@given(fleets(), LIMITS)
def test_by_count_every_stop_is_closer(topology: Topology, most: int | None) -> None:
    batches = propose(topology, Wanted(slots_per_move=most)).batches
    steps = [distance(topology, after(topology, batches[:n])) for n in range(len(batches) + 1)]
    assert all(later < earlier for earlier, later in pairwise(steps))


@LAWS
@given(fleets(), st.integers(0, 4))
def test_a_plan_cut_short_is_the_beginning_of_the_whole(topology: Topology, many: int) -> None:
    whole = propose(topology, Wanted(slots_per_move=5)).batches
    assert propose(topology, Wanted(max_moves=many, slots_per_move=5)).batches == whole[:many]


@LAWS
@given(fleets(), LOADS, st.sampled_from(Measure), st.data())
def test_what_is_excluded_or_underway_stays(
    topology: Topology, loads: list[float], measure: Measure, data: st.DataObject
) -> None:
    ids = [shard.id for shard in topology.shards]
    slots = st.frozensets(st.integers(0, SLOTS - 1).map(Slot), max_size=20)
    # The first shard has a weight: something can take slots.
    frozen = data.draw(st.frozensets(st.sampled_from(ids[1:]), max_size=len(ids) - 1))
    still = data.draw(slots)
    underway = {slot: data.draw(st.sampled_from(ids)) for slot in data.draw(slots)}
    wanted = Wanted(measure, excluded_shards=frozen, excluded_slots=still)
    proposal = propose(topology, wanted, loads, underway)
    for batch in proposal.batches:
        assert not frozen & {batch.source, batch.target}
        assert not (still | underway.keys()) & set(batch.slots)
        assert topology.shard(batch.target).weight > 0


@LAWS
@given(fleets(), LOADS)
def test_by_load_the_peak_does_not_rise_where_slots_are_spread(
    topology: Topology, loads: list[float]
) -> None:
    spread = replace(
        topology,
        shards=tuple(replace(shard, weight=1) for shard in topology.shards),
        owners=small_topology(slots=SLOTS, shards=len(topology.shards)).owners,
    )
    proposal = propose(spread, Wanted(Measure.LOAD), loads)
    assert proposal.imbalance_after <= proposal.imbalance_before + 1e-9
    assert told_right(spread, loads, proposal)


def told_right(topology: Topology, loads: Sequence[float], proposal: Proposal) -> bool:
    owners = after(topology, proposal.batches)
    share = sum(loads) / len(topology.shards)
    peak = max(
        sum(load for owner, load in zip(owners, loads, strict=True) if owner == shard.id)
        for shard in topology.shards
    )
    return proposal.imbalance_after == pytest.approx(peak / share if share else 1.0)
