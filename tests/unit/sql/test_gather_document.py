"""The errors that docs/reference/gather.md shows are those that are raised."""

import re
from pathlib import Path

import pytest

from shardrouter.errors import CrossShardUnsupported
from shardrouter.sql import split
from tests.unit.sql.test_refusals import REFUSED

DOCUMENT = Path(__file__).parents[3] / "docs" / "reference" / "gather.md"


@pytest.mark.filterwarnings("ignore:.*cartesian product.*")
def test_shown_errors_are_raised() -> None:
    shown = set(re.findall(r"`(gather cannot merge [^<][^`]*)` \|", DOCUMENT.read_text()))
    assert len(shown) > 25
    assert shown <= {_message(statement) for statement, _ in REFUSED.values()}


def _message(statement: object) -> str:
    with pytest.raises(CrossShardUnsupported) as refused:
        split(statement, ())
    return refused.value.message
