"""The laws of planning: exact quotas, fewest moves, one answer."""

from collections import Counter
from collections.abc import Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from shardrouter.topology import ShardId, list_moves, plan_owners

LAWS = settings(deadline=None, max_examples=30)
SLOTS = st.sampled_from([16, 64, 256, 1024])
WEIGHTS = st.dictionaries(
    st.sampled_from([ShardId(f"s{n}") for n in range(16)]), st.integers(0, 7), min_size=1
).filter(lambda weights: any(weights.values()))
FLEETS = st.lists(WEIGHTS, min_size=1, max_size=6)
"""Weights of a fleet as shards are added, removed, drained and reweighted."""


def shares(weights: Mapping[ShardId, int], slots: int) -> dict[ShardId, float]:
    whole = sum(weights.values())
    return {shard: slots * weight / whole for shard, weight in weights.items()}


def fewest_moves(before: Sequence[ShardId], weights: Mapping[ShardId, int], slots: int) -> int:
    """What any plan must move: what the shards lack for their quotas.

    Quotas round down, and the slots left over go by largest remainder, of equal ones to the
    shards that would have to give one away.
    """
    counts = Counter(before)
    quotas = {shard: slots * weights[shard] // sum(weights.values()) for shard in weights}
    left = slots - sum(quotas.values())
    remainders = {s: slots * weights[s] % sum(weights.values()) for s in weights}
    saving = sorted(weights, key=lambda s: (remainders[s], counts[s] > quotas[s]), reverse=True)
    for shard in saving[:left]:
        quotas[shard] += 1
    return sum(max(0, quotas[shard] - counts[shard]) for shard in quotas)


@LAWS
@given(FLEETS, SLOTS)
def test_every_change_moves_the_lower_bound(fleets: list[dict[ShardId, int]], slots: int) -> None:
    owners = plan_owners(None, fleets[0], slots)
    for weights in fleets:
        after = plan_owners(owners, weights, slots)
        moves = list_moves(owners, after)
        assert len(moves) == fewest_moves(owners, weights, slots)
        assert not {m.source for m in moves} & {m.target for m in moves}
        owners = after


@LAWS
@given(FLEETS, SLOTS)
def test_every_shard_is_within_one_slot_of_its_share(
    fleets: list[dict[ShardId, int]], slots: int
) -> None:
    owners = plan_owners(None, fleets[0], slots)
    for weights in fleets:
        owners = plan_owners(owners, weights, slots)
        counts = Counter(owners)
        assert counts.keys() <= {shard for shard, weight in weights.items() if weight}
        assert all(abs(counts[s] - share) < 1 for s, share in shares(weights, slots).items())


@LAWS
@given(FLEETS, SLOTS)
def test_a_plan_planned_again_is_the_same_in_any_order(
    fleets: list[dict[ShardId, int]], slots: int
) -> None:
    owners = plan_owners(None, fleets[0], slots)
    for weights in fleets:
        after = plan_owners(owners, weights, slots)
        assert plan_owners(owners, dict(reversed(weights.items())), slots) == after
        assert plan_owners(after, weights, slots) == after
        owners = after


@LAWS
@given(WEIGHTS, WEIGHTS, SLOTS, st.floats(0, 0.5))
def test_slack_saves_moves_within_its_bound(
    first: dict[ShardId, int], second: dict[ShardId, int], slots: int, slack: float
) -> None:
    before = plan_owners(None, first, slots)
    exact = plan_owners(before, second, slots)
    loose = plan_owners(before, second, slots, slack=slack)
    assert len(list_moves(before, loose)) <= len(list_moves(before, exact))
    for shard, share in shares(second, slots).items():
        assert loose.count(shard) <= (share + 1) * (1 + slack)


@LAWS
@given(WEIGHTS, WEIGHTS, SLOTS, st.sets(st.sampled_from([ShardId(f"s{n}") for n in range(8)])))
def test_closed_shards_never_take(
    first: dict[ShardId, int], second: dict[ShardId, int], slots: int, closed: set[ShardId]
) -> None:
    if not any(weight for shard, weight in second.items() if shard not in closed):
        second = second | {ShardId("s15"): 1}
    before = plan_owners(None, first, slots)
    moves = list_moves(before, plan_owners(before, second, slots, closed=closed))
    assert not {move.target for move in moves} & closed
