"""To what a sequence is set."""

from dataclasses import replace

import pytest

from shardrouter.errors import MoveError
from shardrouter.postgres.moving import SequenceState
from shardrouter.postgres.moving.sequences import wanted_value

UP = SequenceState("t.id", "t_id_seq", None, 1, 1, 1, 1000)
DOWN = SequenceState("t.id", "t_id_seq", None, -2, 10, -1000, -1)


@pytest.mark.parametrize(
    ("mine", "theirs", "wanted"),
    [
        (UP, UP, None),
        (UP, replace(UP, last=7), 8),
        (replace(UP, last=7), replace(UP, last=7), None),
        (replace(UP, last=6), replace(UP, last=7, cache=50), 57),
        (replace(UP, last=900), replace(UP, last=7), None),
        (replace(UP, last=5), UP, None),
        (DOWN, replace(DOWN, last=-7), -27),
        (replace(DOWN, last=-7), replace(DOWN, last=-6), None),
        (replace(DOWN, last=-6), replace(DOWN, last=-7), -27),
    ],
)
def test_only_forward_and_past_the_cache(mine, theirs, wanted):
    assert wanted_value(mine, theirs) == wanted


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [(UP, replace(UP, last=1000)), (DOWN, replace(DOWN, last=-999)), (DOWN, replace(UP, last=5))],
)
def test_a_sequence_that_ends_is_named(mine, theirs):
    with pytest.raises(MoveError, match="t_id_seq cannot go on"):
        wanted_value(mine, theirs)
