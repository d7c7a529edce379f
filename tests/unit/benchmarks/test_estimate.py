"""The median and its interval, against what is known of them."""

from random import Random
from statistics import median

import pytest

from benchmarks.estimate import estimate, estimate_quantile, ratios


def test_one_sample_is_all_there_is():
    found = estimate([3.0])
    assert (found.low, found.median, found.high) == (3.0, 3.0, 3.0)


def test_five_samples_are_too_few_to_leave_any_out():
    found = estimate([5, 1, 4, 2, 3])
    assert (found.low, found.median, found.high) == (1, 3, 5)


@pytest.mark.parametrize(
    ("count", "low", "high"),
    # Ranks from published tables of the sign test's 95 % interval.
    [(6, 1, 6), (8, 1, 8), (9, 2, 8), (10, 2, 9), (20, 6, 15), (50, 18, 33), (100, 40, 61)],
)
def test_interval_has_the_ranks_of_the_published_tables(count, low, high):
    ranks = list(range(1, count + 1))
    Random(1).shuffle(ranks)
    found = estimate(ranks)
    assert (found.low, found.median, found.high) == (low, median(ranks), high)


def test_one_wild_sample_moves_nothing():
    calm = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8]
    found = estimate([*calm[:-1], 1000.0])
    assert found == estimate(calm)


def test_interval_covers_the_true_median_as_often_as_it_says():
    random = Random(2013)
    trials, covered = 1000, 0
    for _ in range(trials):
        found = estimate([random.expovariate(1.0) for _ in range(25)])
        covered += found.low <= 0.6931 <= found.high
    assert 0.93 <= covered / trials <= 0.99


@pytest.mark.parametrize(
    ("count", "part", "ranks"),
    [(100, 0.5, (40, 50, 61)), (60, 0.99, (58, 60, 60)), (1000, 0.99, (983, 990, 997))],
)
def test_quantile_has_the_ranks_of_the_binomial(count, part, ranks):
    found = estimate_quantile(list(range(1, count + 1)), part)
    assert (found.low, found.median, found.high) == ranks


def test_interval_covers_the_true_quantile_as_often_as_it_says():
    random = Random(2013)
    trials, covered = 400, 0
    for _ in range(trials):
        found = estimate_quantile([random.expovariate(1.0) for _ in range(200)], 0.9)
        covered += found.low <= 2.3026 <= found.high
    assert covered / trials >= 0.93


def test_no_samples_are_an_error():
    with pytest.raises(ValueError, match="no samples"):
        estimate_quantile([], 0.99)
    with pytest.raises(ValueError, match="no samples"):
        estimate([])


def test_ratios_are_taken_round_by_round():
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]


def test_ratios_of_unequal_rounds_are_an_error():
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])
