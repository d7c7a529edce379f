"""Slots move, come back and are given up while clients write; nothing is lost or left behind."""

import pytest

from shardrouter.rebalance.mover import Stops
from shardrouter.topology import MoveState, Wish
from tests.integration.rebalance.conftest import Prepared
from tests.support.moving_here import run_move, wish

LONG = 3600.0


@pytest.mark.parametrize("copy_mode", ["safe", "fast"])
def test_slots_move_while_clients_write(prepared: Prepared, copy_mode: str):
    number = prepared.create(copy_mode=copy_mode, soak_seconds=0.3)
    with prepared.clients():
        move = run_move(prepared.bed, number)
    assert (move.state, move.attention) == (MoveState.DONE, None)
    assert prepared.owners() == {"s1"}
    assert move.pause_seconds is not None and move.pause_seconds < 3
    prepared.bed.wait_clean()


def test_without_a_soak_no_reverse_stream_is_made(prepared: Prepared):
    number = prepared.create(soak_seconds=0.0)
    move = run_move(prepared.bed, number)
    assert move.state is MoveState.DONE
    assert "reverse" not in move.facts
    prepared.bed.wait_clean()


def test_slots_come_back_without_a_copy(prepared: Prepared):
    number = prepared.create(soak_seconds=LONG)
    with prepared.clients() as work:
        assert run_move(prepared.bed, number, stops=Stops()).state is MoveState.SOAKING
        assert prepared.owners() == {"s1"}
        work.wait_for_more(20)  # written on the target, to be brought back
        wish(prepared.bed, number, Wish.REVERSE)
        move = run_move(prepared.bed, number)
    assert (move.state, move.attempt, move.cutovers) == (MoveState.REVERSED, 1, 2)
    assert prepared.owners() == {"s0"}
    prepared.bed.wait_clean()


def test_a_soak_can_be_cut_short(prepared: Prepared):
    number = prepared.create(soak_seconds=LONG)
    run_move(prepared.bed, number, stops=Stops())
    wish(prepared.bed, number, Wish.FINISH)
    assert run_move(prepared.bed, number).state is MoveState.DONE
    prepared.bed.wait_clean()


def test_it_stops_before_the_cutover(prepared: Prepared):
    number = prepared.create(soak_seconds=LONG)
    move = run_move(prepared.bed, number, stops=Stops(at_ready=True))
    assert move.state is MoveState.READY
    assert move.owner == "test"
    assert prepared.bed.move(number).owner is None
    assert prepared.owners() == {"s0"}
    wish(prepared.bed, number, Wish.HOLD)
    held = run_move(prepared.bed, number)
    assert (held.state, held.held) == (MoveState.READY, True)
    wish(prepared.bed, number, Wish.ABORT)
    assert run_move(prepared.bed, number).state is MoveState.ABORTED
    prepared.bed.wait_clean()


def test_the_stream_is_kept_while_a_move_is_held(prepared: Prepared):
    number = prepared.create()
    run_move(prepared.bed, number, stops=Stops(at_ready=True))
    wish(prepared.bed, number, Wish.HOLD)
    run_move(prepared.bed, number)
    with prepared.clients() as work:
        work.wait_for_more(20)
        wish(prepared.bed, number, Wish.GO_ON)
        move = run_move(prepared.bed, number)
    assert move.state is MoveState.DONE
    prepared.bed.wait_clean()
