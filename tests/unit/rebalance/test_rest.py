"""A copy with a limit of latency begins slowly, goes ever faster, and slower when strained."""

from itertools import repeat

from shardrouter.postgres.moving import ROWS_BETWEEN
from shardrouter.rebalance.copying.rest import Nap, nap_for_rate


def after(nap: Nap, *strained: bool) -> float:
    return [nap.look(one) for one in strained][-1]


def test_it_begins_slowly_and_goes_ever_faster() -> None:
    nap = Nap()
    first, *more = [nap.look(False) for _ in range(100)]
    assert first > 0.9 * Nap.FIRST_SECONDS
    assert more == sorted(more, reverse=True)
    assert Nap.FIRST_SECONDS * 0.45 < more[-1] < Nap.FIRST_SECONDS * 0.55  # of 5 seconds


def test_in_the_end_it_does_not_nap_at_all() -> None:
    assert after(Nap(), *repeat(False, 1000)) == 0.0


def test_one_strain_makes_it_half_as_fast_however_long_it_lasts() -> None:
    assert after(Nap(), *repeat(True, 50)) == 2 * Nap.FIRST_SECONDS


def test_a_strain_later_does_so_again_up_to_a_limit() -> None:
    nap = Nap()
    assert after(nap, True, False, True) > 3.9 * Nap.FIRST_SECONDS
    assert after(nap, *[True, False] * 50, True) == Nap.LONGEST_SECONDS


def test_it_slows_down_soon_although_it_went_fast_for_long() -> None:
    nap = Nap()
    after(nap, *repeat(False, 10_000))
    assert after(nap, True) >= Nap.SHORTEST_SECONDS


def test_naps_keep_to_a_rate() -> None:
    assert nap_for_rate(None, 100.0) == 0.0
    rows_a_second = ROWS_BETWEEN / nap_for_rate(1_000_000, 100.0)
    assert rows_a_second * 100.0 == 1_000_000
