"""What is said of a move: how far it is, and what to do next."""

import json
from dataclasses import replace
from typing import Any

import pytest

from shardrouter.rebalance.running.status import MoveStatus
from shardrouter.topology import MoveState, Wish
from tests.support.move_rows import some_move


def status(state: MoveState, *, attended: bool = True, **changes: Any) -> MoveStatus:
    owner = {"owner": "ann@here:1", "lease_seconds_left": 5.0} if attended else {}
    return MoveStatus(replace(some_move(), state=state, **owner, **changes))


@pytest.mark.parametrize(
    ("state", "progress", "copied"),
    [
        (MoveState.PLANNED, {}, 0.0),
        (MoveState.RESTARTING, {"rows_total": 10, "rows_copied": 9}, 0.0),
        (MoveState.COPYING, {}, None),
        (MoveState.COPYING, {"rows_total": 10, "rows_copied": 4}, 0.4),
        (MoveState.COPYING, {"bytes_total": 10, "bytes_copied": 5, "rows_total": 10}, 0.5),
        (MoveState.COPYING, {"rows_total": 10, "rows_copied": 14}, 1.0),
        (MoveState.COPYING, {"rows_total": 0, "rows_copied": 0}, None),
        (MoveState.VERIFYING, {}, 1.0),
        (MoveState.ABORTING, {}, None),
    ],
)
def test_how_much_is_copied(
    state: MoveState, progress: dict[str, int], copied: float | None
) -> None:
    assert status(state, progress=progress).copied == copied


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (status(MoveState.COPYING), ""),
        (status(MoveState.DONE, attended=False), ""),
        (status(MoveState.COPYING, attended=False), "`shardrouter rebalance resume` carries it on"),
        (status(MoveState.READY, held=True), "lets it go on"),
        (status(MoveState.READY, held=True, wish=Wish.GO_ON), ""),
        (status(MoveState.VERIFYING, attention="rows differ"), "mend it, then"),
        (status(MoveState.VERIFYING, attention="rows differ"), "`shardrouter move abort 1`"),
        (status(MoveState.SOAKING), "wait, or `shardrouter move finish 1`"),
        (status(MoveState.SOAKING, attended=False), "wait, or `shardrouter move finish 1`"),
        (status(MoveState.CLEANING, attended=False), "wait for a router"),
        (status(MoveState.COPYING, attended=False, owner="ann@dead:1"), "wait for a router"),
    ],
)
def test_the_next_step(found: MoveStatus, said: str) -> None:
    assert said in found.next_step
    assert bool(found.next_step) == bool(said)


def test_a_move_past_the_cutover_is_not_to_be_aborted() -> None:
    assert "abort" not in status(MoveState.CLEANING, attention="disk full").next_step


def test_who_is_silent_past_the_lease_does_not_attend() -> None:
    move = replace(some_move(), owner="ann@here:1", lease_seconds_left=0.0)
    assert not MoveStatus(move).is_attended


def test_it_is_plain_data() -> None:
    data = status(MoveState.COPYING, wish=Wish.HOLD).as_data()
    assert json.loads(json.dumps(data)) == data
    assert (data["slots"], data["wish"], data["attended"]) == ("0,2", "hold", True)


def test_a_lost_way_back_is_told() -> None:
    """Else the next step would be a command that is refused."""
    soaking = status(MoveState.SOAKING, facts={"reverse_lost": "its slot was invalidated"})
    assert "move reverse" not in soaking.next_step
    assert "no way back: its slot was invalidated" in soaking.next_step
    assert soaking.as_data()["no_way_back"] == "its slot was invalidated"
    assert status(MoveState.SOAKING).as_data()["no_way_back"] is None
