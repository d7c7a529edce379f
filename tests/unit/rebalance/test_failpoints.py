"""Named places of the mover: all named in the code, each of a state, and armed by a variable."""

import re
from pathlib import Path

import pytest

from shardrouter.errors import SettingsError
from shardrouter.rebalance.failpoints import (
    FAILPOINTS,
    VARIABLE,
    FailpointReached,
    Failpoints,
    parse_failpoint,
)
from shardrouter.topology import STATES, MoveState

FOLDER = Path(__file__).parents[3] / "shardrouter" / "rebalance"


def test_each_is_reached_somewhere_and_each_place_is_named():
    source = "\n".join(path.read_text() for path in FOLDER.rglob("*.py"))
    called = set(re.findall(r'failpoint\(\s*"([a-z_.]+)"', source))
    passed_on = set(re.findall(r'_(?:copy|copied)\(job, [^")]*"([a-z_.]+)"', source))
    assert called | passed_on == set(FAILPOINTS)


def test_each_belongs_to_a_state_in_their_order():
    states = [MoveState(name.partition(".")[0]) for name in FAILPOINTS]
    order = [state for state in STATES if state in states]
    assert list(dict.fromkeys(states)) == order


def test_the_nth_pass_counts():
    failpoints = Failpoints(parse_failpoint("ready.gate:raise:2"))
    failpoints("ready.gate")
    failpoints("pausing.published")
    with pytest.raises(FailpointReached):
        failpoints("ready.gate")
    failpoints("ready.gate")


def test_sleep_says_how_long():
    found = parse_failpoint("cleaning.chunk:sleep=1.5")
    assert (found.action, found.seconds, found.at) == ("sleep", 1.5, 1)


@pytest.mark.parametrize("text", ["ready.gate", "ready.gate:fall", "nowhere.at:exit", ":exit"])
def test_nonsense_is_refused(text: str):
    with pytest.raises(SettingsError, match=VARIABLE):
        Failpoints.from_environment({VARIABLE: text})


def test_unarmed_ones_do_nothing_but_know_their_names():
    failpoints = Failpoints.from_environment({})
    for name in FAILPOINTS:
        failpoints(name)
    with pytest.raises(ValueError, match=r"nowhere\.at"):
        failpoints("nowhere.at")
