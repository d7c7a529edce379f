"""What routers do for a move that nobody carries out, state by state."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shardrouter.catalog import Move
from shardrouter.rebalance.running.duties import (
    LOOK_EVERY_SECONDS,
    LOOKING,
    UNFINISHED,
    Duty,
    duties_of,
)
from shardrouter.topology import CUTTING_OVER, OVER, MoveState, Wish
from tests.support.move_rows import NOON, some_move

GRACE = 30.0

_S = MoveState
ORDINARY = (_S.PREPARING, _S.COPYING, _S.CATCHING_UP, _S.VERIFYING, _S.READY)
ENDING = (_S.CLEANING, _S.ABORTING, _S.RESTARTING)
STREAMING = (_S.COPYING, _S.CATCHING_UP, _S.VERIFYING, _S.READY, _S.SOAKING)


def move_in(
    state: MoveState, *, owner: str | None = None, silent: float = 1000.0, untouched: float = 0.0
) -> Move:
    """Return a move that nobody has carried out for so long; untouched: nobody looked at it."""
    read_at = NOON + timedelta(seconds=1.0)
    ended = read_at - timedelta(seconds=silent)
    return replace(
        some_move(),
        state=state,
        owner=owner,
        owner_expires_at=None if owner is None else ended,
        updated_at=ended if owner is None else read_at - timedelta(seconds=untouched),
    )


def duty_of(move: Move) -> Duty | None:
    """Return what is done when there is somebody for everything."""
    return next(iter(duties_of(move, GRACE)), None)


RESTING = ({"held": True}, {"attention": "rows differ"}, {"wish": Wish.HOLD})
DEAD = "a process that died"


@pytest.mark.parametrize("state", MoveState)
@pytest.mark.parametrize("owner", [None, DEAD])
def test_by_state(state: MoveState, owner: str | None) -> None:
    duty = duty_of(move_in(state, owner=owner, untouched=1000.0))
    if state in OVER or state is _S.PLANNED:
        assert duty is None
    elif state in CUTTING_OVER:
        assert duty is Duty.FINISH_CUTOVER
    elif state in ENDING:
        assert duty is Duty.CLEAN_UP
    elif state is _S.SOAKING:
        assert duty is Duty.LOOK
    elif owner is not None:
        assert duty is Duty.CARRY_ON
    else:
        assert duty is (None if state is _S.PREPARING else Duty.LOOK)


@pytest.mark.parametrize("state", sorted(UNFINISHED))
@pytest.mark.parametrize("owner", [None, DEAD])
@pytest.mark.parametrize("resting", RESTING)
def test_what_rests_is_only_looked_at(
    state: MoveState, owner: str | None, resting: dict[str, Any]
) -> None:
    move = replace(move_in(state, owner=owner, untouched=1000.0), soak_seconds=-GRACE, **resting)
    if state in CUTTING_OVER:
        assert duty_of(move) is Duty.FINISH_CUTOVER  # writers wait
    else:
        assert duty_of(move) is (Duty.LOOK if state in STREAMING else None)


@pytest.mark.parametrize("state", ORDINARY)
def test_a_proxy_carries_no_rows(state: MoveState) -> None:
    """But looks what their copy costs."""
    fast = replace(move_in(state, owner=DEAD, untouched=1000.0), copy_mode="fast")
    duties = duties_of(fast, GRACE, may_copy=False)
    carries = state in {_S.PREPARING, _S.COPYING}
    assert (Duty.CARRY_ON in duties) is not carries
    assert Duty.CARRY_ON in duties_of(fast, GRACE)
    assert Duty.CARRY_ON in duties_of(replace(fast, copy_mode="safe"), GRACE, may_copy=False)
    assert (Duty.LOOK in duties) is (state in STREAMING)


@pytest.mark.parametrize("state", sorted(UNFINISHED))
def test_what_is_carried_out_is_left_alone(state: MoveState) -> None:
    living = move_in(state, owner="a process that lives", silent=-3.0)
    assert duty_of(replace(living, lease_seconds_left=3.0)) is None


@pytest.mark.parametrize("owner", [None, DEAD])
def test_a_soak_that_is_over_is_ended(owner: str | None) -> None:
    """Also when it was looked at a moment ago: looks go on until somebody comes."""
    soaking = replace(move_in(_S.SOAKING, owner=owner, silent=0.0), soak_seconds=1.0 - GRACE)
    assert duty_of(soaking) is Duty.CLEAN_UP
    assert duty_of(replace(soaking, soak_seconds=1.1 - GRACE)) is None


@pytest.mark.parametrize("state", sorted({*ORDINARY, *ENDING}))
def test_an_operator_may_come_first(state: MoveState) -> None:
    assert duty_of(move_in(state, owner=DEAD, silent=GRACE - 1)) is None
    assert duty_of(move_in(state, owner=DEAD, silent=GRACE)) is not None


def test_writers_wait_for_no_operator() -> None:
    for state in CUTTING_OVER:
        assert duty_of(move_in(state, owner=DEAD, silent=0.0)) is not None


def test_one_look_is_enough_for_a_while() -> None:
    assert duty_of(move_in(_S.READY, silent=LOOK_EVERY_SECONDS - 1)) is None
    assert duty_of(move_in(_S.READY, silent=LOOK_EVERY_SECONDS)) is Duty.LOOK


def test_it_is_looked_at_until_somebody_has_time_for_it() -> None:
    move = move_in(_S.COPYING, owner=DEAD, untouched=LOOK_EVERY_SECONDS)
    assert duties_of(move, GRACE) == [Duty.CARRY_ON, Duty.LOOK]
    assert duties_of(move, grace_seconds=1e6) == [Duty.LOOK]
    assert duties_of(move_in(_S.COPYING, owner=DEAD), GRACE) == [Duty.CARRY_ON]


def test_who_died_while_it_looked_carried_nothing_out() -> None:
    died = move_in(_S.COPYING, owner=f"{LOOKING}a router", untouched=LOOK_EVERY_SECONDS)
    assert duties_of(died, GRACE) == [Duty.LOOK]
