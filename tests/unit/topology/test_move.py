"""The table of states: where moves can go, and what operators may ask."""

from itertools import product

import pytest

from shardrouter.topology import (
    CUTTING_OVER,
    OVER,
    POINT_OF_NO_RETURN,
    STATES,
    Direction,
    MoveState,
    Wish,
    may_abort,
    may_follow,
    may_wish,
)

S = MoveState


def reachable(start: MoveState, without: frozenset[MoveState] = frozenset()) -> set[MoveState]:
    found, open_ends = {start}, [start]
    while open_ends:
        for following in STATES[open_ends.pop()].following - without - found:
            found.add(following)
            open_ends.append(following)
    return found


def test_every_state_has_a_row_and_is_reached() -> None:
    assert set(STATES) == set(MoveState) == reachable(S.PLANNED)


def test_every_move_can_come_to_its_end() -> None:
    for state in MoveState:
        assert reachable(state) & OVER
        assert (STATES[state].following == frozenset()) is (state in OVER)


def test_only_over_the_commit_do_slots_change_their_owner() -> None:
    from_ready = STATES[S.READY].following - {S.SOAKING}  # a way back that is given up
    for state in (S.PLANNED, *from_ready):
        found = reachable(state, frozenset({POINT_OF_NO_RETURN, S.SOAKING}))
        assert not found & {S.DONE, S.REVERSED}


def test_after_the_commit_a_move_goes_forward_or_cuts_over_again() -> None:
    back = frozenset({S.READY})  # only `move reverse` leads there
    assert reachable(S.COMMITTED, back) == {
        S.COMMITTED,
        S.SOAKING,
        S.CLEANING,
        S.DONE,
        S.REVERSED,
    }


def test_a_cutover_is_left_by_commit_or_retreat_alone() -> None:
    ways_out = {
        (state, following)
        for state in CUTTING_OVER
        for following in STATES[state].following - CUTTING_OVER
    }
    assert {state for state, _ in ways_out} == {S.COMMITTED, S.RETREATING}


def test_may_follow() -> None:
    assert may_follow(S.DRAINING, S.COMMITTED)
    assert not may_follow(S.READY, S.COMMITTED)


@pytest.mark.parametrize(("state", "direction"), list(product(MoveState, Direction)))
def test_who_can_still_abort_has_a_way_there(state: MoveState, direction: Direction) -> None:
    if may_abort(state, direction):
        assert direction is Direction.FORWARD
        assert S.ABORTED in reachable(state, frozenset({POINT_OF_NO_RETURN}))
    assert may_wish(Wish.ABORT, state, direction) is may_abort(state, direction)


@pytest.mark.parametrize("direction", Direction)
def test_wishes_of_a_move_that_soaks(direction: Direction) -> None:
    assert may_wish(Wish.FINISH, S.SOAKING, direction)
    assert not may_wish(Wish.ABORT, S.SOAKING, direction)
    assert may_wish(Wish.REVERSE, S.SOAKING, direction) is (direction is Direction.FORWARD)


def test_a_way_back_can_be_given_up() -> None:
    assert may_wish(Wish.FINISH, S.READY, Direction.BACK)
    assert not may_wish(Wish.FINISH, S.READY, Direction.FORWARD)


@pytest.mark.parametrize(("wish", "state"), list(product(Wish, sorted(OVER))))
def test_nothing_is_asked_of_a_move_that_is_over(wish: Wish, state: MoveState) -> None:
    assert not any(may_wish(wish, state, direction) for direction in Direction)
