"""The errors that docs/reference/gather.md shows are those that are raised."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from shardrouter.errors import CrossShardUnsupported
from shardrouter.sql import OwnRows
from shardrouter.sql.split import split
from shardrouter.topology import ShardId
from tests.support.gather_motions import moving
from tests.support.gather_tables import Thing
from tests.unit.sql.test_refusals import REFUSED

DOCUMENT = Path(__file__).parents[3] / "docs" / "reference" / "gather.md"


@pytest.mark.filterwarnings("ignore:.*cartesian product.*")
def test_shown_errors_are_raised() -> None:
    shown = set(re.findall(r"`(gather cannot merge [^<][^`]*)` \|", DOCUMENT.read_text()))
    assert len(shown) > 25
    in_motion = OwnRows(replace(moving([ShardId("g0"), ShardId("g1"), ShardId("g2")]), tables=()))
    raised = {_message(statement) for statement, _ in REFUSED.values()}
    assert shown <= raised | {_message(select(Thing.id), in_motion)}


def _message(statement: object, own: OwnRows | None = None) -> str:
    with pytest.raises(CrossShardUnsupported) as refused:
        split(statement, (), own)
    return refused.value.message
