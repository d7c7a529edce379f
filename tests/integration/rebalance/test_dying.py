"""A mover that dies anywhere is followed by another one, which finds what it left."""

from collections.abc import Sequence

import pytest

from shardrouter.rebalance.failpoints import FAILPOINTS
from shardrouter.topology import MoveState, Wish
from tests.integration.rebalance.conftest import Prepared
from tests.support.moving_here import die_at, run_move, wish

ABORTING = "preparing.slot_made copying.subscribed verifying.chunk ready.gate pausing.published"
ABORTING += " pausing.drained fencing.locked fencing.fenced draining.arrived"
ABORTING += " draining.before_commit"


def places(*states: str) -> list[str]:
    return [name for name in FAILPOINTS if name.partition(".")[0] in states]


FORWARD = places(
    "planned", "preparing", "copying", "catching_up", "verifying", "ready", "pausing", "fencing",
    "draining", "committed", "soaking", "cleaning",
)  # fmt: skip


def die_everywhere(prepared: Prepared, number: int, names: Sequence[str]) -> list[str]:
    """Let movers die one after the other, each a place further; return where none came by."""
    bed = prepared.bed
    return [name for name in names if bed.move(number).is_over or not die_at(bed, number, name)]


def test_it_dies_at_every_step_on_its_way(prepared: Prepared):
    number = prepared.create(soak_seconds=0.2)
    with prepared.clients():
        passed = die_everywhere(prepared, number, [n for n in FORWARD if n != "copying.chunk"])
        move = prepared.bed.move(number)
        move = move if move.is_over else run_move(prepared.bed, number)
    assert (move.state, move.attempt) == (MoveState.DONE, 1)
    assert passed == []
    prepared.bed.wait_clean()


@pytest.mark.slow
def test_a_fast_copy_that_was_interrupted_begins_anew(prepared: Prepared):
    number = prepared.create(copy_mode="fast")
    with prepared.clients():
        names = ["copying.chunk", *places("restarting"), "copying.copied", "copying.subscribed"]
        assert die_everywhere(prepared, number, names) == []
        move = run_move(prepared.bed, number)
    assert (move.state, move.attempt) == (MoveState.DONE, 2)
    prepared.bed.wait_clean()


@pytest.mark.slow
@pytest.mark.parametrize("name", ABORTING.split())
def test_it_can_be_given_up_everywhere(prepared: Prepared, name: str):
    number = prepared.create(soak_seconds=1.0)
    assert die_at(prepared.bed, number, name)
    wish(prepared.bed, number, Wish.ABORT)
    names = places("aborting")
    if name.startswith("preparing"):
        names.remove("aborting.chunk")  # no row was copied yet
    if name.partition(".")[0] in ("pausing", "fencing", "draining"):
        names = [*places("retreating"), *names]
    assert die_everywhere(prepared, number, names) == []
    move = run_move(prepared.bed, number)
    assert move.state is MoveState.ABORTED
    assert prepared.owners() == {"s0"}
    prepared.bed.wait_clean()


@pytest.mark.slow
def test_it_dies_on_its_way_back(prepared: Prepared):
    number = prepared.create(soak_seconds=3600.0)
    with prepared.clients():
        assert die_at(prepared.bed, number, "committed.reversed")
        wish(prepared.bed, number, Wish.REVERSE)
        names = places("pausing", "fencing", "draining", "committed", "cleaning")
        names.remove("committed.reversed")
        assert die_everywhere(prepared, number, names) == []
        move = run_move(prepared.bed, number)
    assert move.state is MoveState.REVERSED
    assert prepared.owners() == {"s0"}
    prepared.bed.wait_clean()
