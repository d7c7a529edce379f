"""The laws of the load-aware pass: under the cap when possible, never worse, few moves."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardrouter.topology import ShardId, list_moves, plan_load

LAWS = settings(deadline=None, max_examples=50)
SHARDS = [ShardId(f"s{n}") for n in range(6)]
WEIGHTS = st.dictionaries(st.sampled_from(SHARDS), st.integers(1, 4), min_size=1)
LOADS = st.lists(
    st.one_of(st.just(0.0), st.integers(0, 80), st.integers(0, 8000)).map(lambda n: n / 8),
    min_size=1,
    max_size=64,
)
SLACK = st.sampled_from([0.0, 0.05, 0.1, 0.5])


def load_of(owners: Sequence[ShardId], loads: Sequence[float], shard: ShardId) -> float:
    return sum(load for owner, load in zip(owners, loads, strict=True) if owner == shard)


def peak(
    owners: Sequence[ShardId], loads: Sequence[float], weights: Mapping[ShardId, int]
) -> float:
    unit = sum(loads) / sum(weights.values())
    return max(load_of(owners, loads, s) / (unit * w) for s, w in weights.items()) if unit else 1


@LAWS
@given(st.data(), WEIGHTS, LOADS, SLACK)
def test_the_peak_never_rises_and_is_told_right(
    data: st.DataObject, weights: dict[ShardId, int], loads: list[float], slack: float
) -> None:
    owners = [data.draw(st.sampled_from(sorted(weights))) for _ in loads]
    plan = plan_load(owners, loads, weights, slack=slack)
    assert plan.peak_before == pytest.approx(peak(owners, loads, weights))
    assert plan.peak_after == pytest.approx(peak(plan.owners, loads, weights))
    assert plan.peak_after <= plan.peak_before
    assert set(plan.owners) <= weights.keys()
    if plan.peak_before <= 1 + slack:
        assert list_moves(owners, plan.owners) == ()


@LAWS
@given(st.data(), WEIGHTS, SLACK.filter(bool))
def test_fine_slots_always_come_under_the_cap(
    data: st.DataObject, weights: dict[ShardId, int], slack: float
) -> None:
    loads = data.draw(st.lists(st.floats(0.5, 1), min_size=200, max_size=300))
    fair = sum(loads) / sum(weights.values())
    if max(loads) > slack * fair:
        slack = max(loads) / fair + 0.01
    owners = [data.draw(st.sampled_from(sorted(weights))) for _ in loads]
    plan = plan_load(owners, loads, weights, slack=slack)
    assert plan.peak_after <= 1 + slack + 1e-6
    for shard, weight in weights.items():
        before, after = load_of(owners, loads, shard), load_of(plan.owners, loads, shard)
        given_away = sum(
            loads[m.slot] for m in list_moves(owners, plan.owners) if m.source == shard
        )
        excess = max(0.0, before - (1 + slack) * fair * weight)
        assert given_away <= excess + max(loads) + 1e-6 if excess else given_away == 0
        assert after >= before or excess


@LAWS
@given(st.data(), WEIGHTS, LOADS)
def test_a_drained_shard_keeps_no_load(
    data: st.DataObject, weights: dict[ShardId, int], loads: list[float]
) -> None:
    drained = ShardId("drained")
    owners = [data.draw(st.sampled_from([*sorted(weights), drained])) for _ in loads]
    plan = plan_load(owners, loads, weights | {drained: 0})
    assert load_of(plan.owners, loads, drained) == 0
