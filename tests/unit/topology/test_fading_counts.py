"""Counts that fade, by a clock that is passed in."""

import pytest

from shardrouter.topology import HALF_LIFE_SECONDS, FadingCounts, Slot

A, B = Slot(3), Slot(7)


def test_half_is_left_after_the_half_life() -> None:
    counts = FadingCounts()
    counts.add({A: 100, B: 10}, now=5000.0)
    assert counts.values() == {A: 100, B: 10}
    counts.add({B: 1}, now=5000.0 + HALF_LIFE_SECONDS)
    assert counts.values() == {A: pytest.approx(50), B: pytest.approx(6)}


def test_how_often_it_is_asked_makes_no_difference() -> None:
    often, seldom = FadingCounts(), FadingCounts()
    for now in range(0, 601, 10):
        often.add({A: 64} if now == 0 else {}, float(now))
    seldom.add({A: 64}, 0.0)
    seldom.add({}, 600.0)
    assert often.values()[A] == pytest.approx(seldom.values()[A])


def test_what_has_faded_is_dropped() -> None:
    counts = FadingCounts()
    counts.add({A: 1, B: 10_000}, now=0.0)
    counts.add({}, now=7 * HALF_LIFE_SECONDS)
    assert counts.values().keys() == {B}


def test_two_routers_one_after_the_other_count_as_one() -> None:
    first, second, both = FadingCounts(), FadingCounts(), FadingCounts()
    first.add({A: 40}, 0.0)
    both.add({A: 40}, 0.0)
    second.add({A: 24}, 300.0)
    both.add({A: 24}, 300.0)
    first.add({}, 300.0)
    assert first.values()[A] + second.values()[A] == pytest.approx(both.values()[A])
