"""Lists of slots, read and written."""

import pytest

from shardrouter.rebalance.planning.slot_list import describe_slots, parse_slots
from shardrouter.topology import Slot


@pytest.mark.parametrize(
    ("text", "slots"),
    [("7", (7,)), ("10-12,99", (10, 11, 12, 99)), ("3, 1-2 ,2", (1, 2, 3)), ("5-5", (5,))],
)
def test_read(text: str, slots: tuple[int, ...]) -> None:
    assert parse_slots(text) == slots


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "1,,2", "5-4", "1-2-3", "99999999999", "²"])
def test_what_is_no_list_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"slot|begins"):
        parse_slots(text)


def test_written() -> None:
    slots = [Slot(n) for n in (1, 2, 3, 9, 11, 12)]
    assert describe_slots(slots) == "1-3,9,11-12"
    assert describe_slots(slots, most=2) == "1-3,9,... 2 more"
    assert describe_slots([]) == ""
    assert parse_slots(describe_slots(slots)) == tuple(slots)
