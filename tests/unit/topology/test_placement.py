"""Single cases of planning; the general laws are property tests."""

import os
import subprocess
import sys
from collections import Counter

import pytest

from shardrouter.errors import SettingsError
from shardrouter.topology import ShardId, Slot, list_moves, plan_owners

S0, S1, S2, S3 = (ShardId(f"s{n}") for n in range(4))
FOUR = {S0: 1, S1: 1, S2: 1, S3: 1}

SCRIPT = """
from shardrouter.topology import plan_owners
shards = {f"s{n}": 1 + n % 3 for n in range(7)}
first = plan_owners(None, shards, 1024)
print(*plan_owners(first, dict(sorted(shards.items())[2:]) | {"t": 4}, 1024))
"""


def test_a_new_fleet_gets_its_quotas() -> None:
    assert Counter(plan_owners(None, FOUR, 4096)) == dict.fromkeys(FOUR, 1024)
    assert Counter(plan_owners(None, {S0: 3, S1: 1}, 4096)) == {S0: 3072, S1: 1024}


def test_a_new_shard_takes_its_share_and_nothing_else_moves() -> None:
    before = plan_owners(None, {S0: 1, S1: 1, S2: 1}, 4096)
    moves = list_moves(before, plan_owners(before, FOUR, 4096))
    assert len(moves) == 1024
    assert {move.target for move in moves} == {S3}


def test_more_weight_moves_the_difference() -> None:
    shards = {ShardId(f"s{n}"): 1 for n in range(8)}
    before = plan_owners(None, shards, 4096)
    moves = list_moves(before, plan_owners(before, shards | {S3: 2}, 4096))
    assert len(moves) == 399  # 2/9 of 4096 less the 512 it had, rounded
    assert {move.target for move in moves} == {S3}


def test_weight_0_drains_and_a_removed_shard_leaves_nothing() -> None:
    before = plan_owners(None, FOUR, 4096)
    drained = plan_owners(before, FOUR | {S1: 0}, 4096)
    removed = plan_owners(before, {S0: 1, S2: 1, S3: 1}, 4096)
    assert drained == removed
    assert {move.source for move in list_moves(before, drained)} == {S1}


def test_slack_keeps_slots_where_they_are() -> None:
    before = plan_owners(None, FOUR, 4096)
    weights = {S0: 100, S1: 100, S2: 100, S3: 103}
    assert len(list_moves(before, plan_owners(before, weights, 4096))) == 23
    assert plan_owners(before, weights, 4096, slack=0.05) == before
    heavier = plan_owners(before, {S0: 10, S1: 10, S2: 10, S3: 20}, 4096, slack=0.05)
    assert max(Counter(heavier)[s] for s in (S0, S1, S2)) == int(819 * 1.05)


def test_closed_shards_take_no_slots() -> None:
    before = plan_owners(None, {S0: 1, S1: 1, S2: 1}, 4096)
    after = plan_owners(before, {S0: 1, S1: 1, S2: 0, S3: 1}, 4096, closed={S0})
    counts = Counter(after)
    assert counts[S0] == Counter(before)[S0]
    assert abs(counts[S1] - counts[S3]) <= 1
    assert counts[S2] == 0


def test_closed_shards_still_give() -> None:
    before = plan_owners(None, {S0: 1, S1: 1}, 4096)
    counts = Counter(plan_owners(before, {S0: 1, S1: 1, S2: 2}, 4096, closed={S0}))
    assert counts == {S0: 1024, S1: 1024, S2: 2048}


def test_pinned_slots_stay_even_on_a_drained_shard() -> None:
    before = plan_owners(None, FOUR, 4096)
    pinned = [slot for slot in range(4096) if before[slot] == S1][:10]
    after = plan_owners(before, FOUR | {S1: 0}, 4096, pinned=[Slot(slot) for slot in pinned])
    assert [slot for slot in range(4096) if after[slot] == S1] == pinned


def test_moves_are_listed_from_the_source_with_most_left() -> None:
    before = (S0,) * 10 + (S1,) * 4 + (S2,) * 2
    moves = list_moves(before, (S2,) * 16)
    assert [move.source for move in moves] == [S0] * 6 + [S0, S1] * 4


def test_nowhere_to_go_is_refused() -> None:
    owners = plan_owners(None, FOUR, 64)
    for weights in ({}, {S0: 0}, {S0: 0, S1: -1}):
        with pytest.raises(SettingsError, match="no shard can take slots"):
            plan_owners(owners, weights, 64)
    with pytest.raises(SettingsError, match="closed"):
        plan_owners(owners, {S0: 1, S1: 0}, 64, closed={S0})


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="power of two"):
        plan_owners(None, FOUR, 100)
    with pytest.raises(ValueError, match="3 owners for 64 slots"):
        plan_owners([S0] * 3, FOUR, 64)
    with pytest.raises(ValueError, match="slack"):
        plan_owners(None, FOUR, 64, slack=-0.1)


def test_plans_do_not_depend_on_the_seed_of_python_hashes() -> None:
    def plan(seed: str) -> str:
        environment = os.environ | {"PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", SCRIPT]
        return subprocess.run(
            command, env=environment, check=True, capture_output=True, text=True, timeout=30
        ).stdout

    first = plan("1")
    assert first.count("t") > 100
    assert plan("2") == first
