"""Single cases of the load-aware pass; the general laws are property tests."""

import pytest

from shardrouter.errors import SettingsError
from shardrouter.topology import ShardId, int_slot, list_moves, plan_load, plan_owners

S0, S1, S2 = (ShardId(f"s{n}") for n in range(3))
TWO = {S0: 1, S1: 1}


def test_even_load_moves_nothing() -> None:
    plan = plan_load([S0, S1], [5, 5], TWO)
    assert plan.owners == (S0, S1)
    assert plan.peak_before == plan.peak_after == 1.0


def test_no_load_moves_nothing() -> None:
    plan = plan_load([S0, S0], [0, 0], TWO)
    assert (plan.owners, plan.peak_before, plan.peak_after) == ((S0, S0), 1.0, 1.0)


def test_the_smallest_sufficient_slot_moves() -> None:
    plan = plan_load([S0] * 4 + [S1], [50, 20, 12, 3, 65], TWO, slack=0.05)
    assert plan.owners == (S0, S0, S1, S0, S1)
    assert plan.peak_before == pytest.approx(85 / 75)
    assert plan.peak_after == pytest.approx(77 / 75)
    assert plan.pinned == ()


def test_a_hot_slot_gets_a_shard_alone() -> None:
    plan = plan_load([S0, S0, S1, S1, S2, S2], [100, 10, 10, 10, 10, 10], {S0: 1, S1: 1, S2: 1})
    assert plan.pinned == (0,)
    assert plan.owners == (S0, S1, S1, S1, S2, S2)
    assert plan.peak_after == pytest.approx(2.0)


def test_a_hot_slot_goes_to_the_biggest_shard() -> None:
    plan = plan_load([S0, S1], [100, 1], {S0: 1, S1: 3})
    assert plan.owners == (S1, S0)


def test_drained_shards_lose_their_load() -> None:
    plan = plan_load([S0, S0, S2, S2], [5, 5, 5, 5], {S0: 1, S1: 1, S2: 0}, slack=0.0)
    assert plan.peak_before == float("inf")
    assert set(plan.owners) == {S0, S1}
    assert plan.peak_after == 1.0


def test_a_slot_too_big_for_the_cap_moves_if_that_helps() -> None:
    plan = plan_load([S0, S0, S0, S1], [6, 6, 6, 3], TWO, slack=0.0)
    assert sorted([plan.owners.count(S0), plan.owners.count(S1)]) == [2, 2]
    assert plan.peak_after == pytest.approx(12 / 10.5)


def test_slots_too_coarse_to_move_stay() -> None:
    owners = [S0, S0, S0, S1, S1]
    plan = plan_load(owners, [4, 4, 4, 5, 5], TWO, slack=0.05)
    assert plan.owners == tuple(owners)


def test_skewed_keys_come_under_the_cap_with_few_moves() -> None:
    loads = [0.0] * 4096
    for rank in range(100_000):
        loads[int_slot(rank, 4096)] += (rank + 1) ** -0.8
    weights = {ShardId(f"s{n}"): 1 for n in range(16)}
    owners = plan_owners(None, weights, 4096)
    plan = plan_load(owners, loads, weights)
    assert plan.peak_before > 1.15
    assert plan.peak_after <= 1.1
    assert len(list_moves(owners, plan.owners)) < 41  # 1 % of the slots


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="one load"):
        plan_load([S0], [], TWO)
    with pytest.raises(ValueError, match="one load"):
        plan_load([S0], [-1], TWO)
    with pytest.raises(SettingsError, match="no shard can take load"):
        plan_load([S0], [1], {S0: 0})
