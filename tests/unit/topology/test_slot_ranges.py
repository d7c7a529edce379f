"""Slots as text and back."""

import pytest

from shardrouter.topology import slot_ranges, slots_of_ranges


@pytest.mark.parametrize(
    ("slots", "text"),
    [
        ((), ""),
        ((5,), "5"),
        ((0, 1, 2, 3, 7, 9, 10), "0-3,7,9-10"),
        ((1, 3, 5), "1,3,5"),
        (tuple(range(4096)), "0-4095"),
    ],
)
def test_there_and_back(slots: tuple[int, ...], text: str) -> None:
    assert slot_ranges(slots) == text
    assert slots_of_ranges(text) == slots


@pytest.mark.parametrize("text", ["a", "1-", "1,,2", "-3"])
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        slots_of_ranges(text)
