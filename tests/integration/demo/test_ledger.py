"""The demo's comparison of what programs were told with what is there finds what is wrong."""

import pytest

from demo.ledger import Differences, compare_all
from demo.traffic import Told

ENTRIES = [("N1", 1), ("N1", 2), ("N2", 3)]


def told(failed: int = 0) -> Told:
    return Told(entries=list(ENTRIES), failed=failed)


@pytest.mark.parametrize(
    ("entries", "counts", "lost", "doubled"),
    [
        ({"s0": ENTRIES}, {"N1": 2, "N2": 1}, 0, 0),
        ({"s0": ENTRIES[:2], "s1": ENTRIES[2:]}, {"N1": 2, "N2": 1}, 0, 0),
        ({"s0": ENTRIES[:2]}, {"N1": 2, "N2": 0}, 1, 0),
        ({"s0": ENTRIES}, {"N1": 1, "N2": 1}, 1, 0),
        ({"s0": ENTRIES, "s1": ENTRIES[:1]}, {"N1": 2, "N2": 1}, 0, 1),
        ({"s0": ENTRIES}, {"N1": 4, "N2": 1}, 0, 2),
    ],
)
def test_what_is_lost_or_doubled_is_counted(entries, counts, lost, doubled):
    found = compare_all([told()], entries, counts)
    assert found == Differences(lost, doubled, strange=0)
    assert found.are_none == (not lost and not doubled)


def test_a_write_that_failed_may_be_there():
    entries = {"s0": [*ENTRIES, ("N2", 4)]}
    assert compare_all([told(failed=1)], entries, {"N1": 2, "N2": 2}).are_none


def test_several_programs_are_added_up():
    other = Told(entries=[("N1", 9)])
    entries = {"s0": [*ENTRIES, ("N1", 9)]}
    assert compare_all([told(), other], entries, {"N1": 3, "N2": 1}).are_none
    assert compare_all([told(), other], {"s0": ENTRIES}, {"N1": 2, "N2": 1}).lost == 1
