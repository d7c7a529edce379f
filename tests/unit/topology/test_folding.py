"""Ids packed of two numbers are noticed, ordinary ids are not."""

import random

import pytest

from shardrouter.topology import folding_warning, int_slot
from shardrouter.topology.folding import folding_loss


def test_equal_halves_lose_every_key() -> None:
    keys = [n << 32 | n for n in range(1, 10_001)]
    assert len({int_slot(key, 4096) for key in keys}) == 1
    assert folding_loss(keys) == pytest.approx(0.9999)
    assert "two columns" in str(folding_warning(keys))


def test_small_grids_lose_most_keys() -> None:
    keys = [a << 32 | b for a in range(100) for b in range(100)]
    assert folding_warning(keys) is not None


@pytest.mark.parametrize(
    "keys",
    [
        range(10_000),
        range(-5_000, 5_000),
        [n << 32 for n in range(10_000)],
        [n << 22 | 7 << 12 for n in range(1_700_000_000_000, 1_700_000_010_000)],
        [random.Random(1).getrandbits(63) for _ in range(10)],
        [random.Random(n).getrandbits(64) - 2**63 for n in range(10_000)],
        [5] * 100,
        [],
    ],
)
def test_ordinary_keys_lose_none(keys: list[int]) -> None:
    assert folding_warning(keys) is None
