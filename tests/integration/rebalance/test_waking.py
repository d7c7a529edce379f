"""A mover that slept through everything wakes up, and does no harm."""

import pytest

from shardrouter.errors import MoveTakenOver
from shardrouter.rebalance.running import renewal
from shardrouter.topology import MoveState, Wish
from tests.integration.rebalance.conftest import Prepared
from tests.support.moving_here import Places, die_at, run_move, wish

SLEEPY = {"mover_lease_seconds": 300}


@pytest.fixture(autouse=True)
def does_not_look_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "LONGEST_PAUSE_SECONDS", 1000.0)


@pytest.mark.parametrize("place", ["copying.subscribed", "committed.flowing"])
def test_when_the_move_is_over(prepared: Prepared, place: str) -> None:
    """No token of the move is on the shards any more; it must not put its own there."""
    bed = prepared.bed
    number = prepared.create()

    def meanwhile() -> None:
        assert run_move(bed, number).state is MoveState.DONE

    with pytest.raises(MoveTakenOver):
        run_move(bed, number, failpoint=Places({place: meanwhile}), rebalance=SLEEPY)
    bed.wait_clean()


def test_when_the_slots_have_moved_by_another_move(prepared: Prepared) -> None:
    """It was deleting the copy from the target, whose rows are the only ones by now."""
    bed = prepared.bed
    number = prepared.create()

    def meanwhile() -> None:
        assert run_move(bed, number).state is MoveState.ABORTED
        assert run_move(bed, prepared.create()).state is MoveState.DONE

    assert die_at(bed, number, "ready.gate")
    wish(bed, number, Wish.ABORT)
    sleeper = Places({"aborting.chunk": meanwhile})
    with pytest.raises(MoveTakenOver):
        run_move(bed, number, failpoint=sleeper, rebalance=SLEEPY)
    assert prepared.owners() == {"s1"}
    bed.wait_clean()
