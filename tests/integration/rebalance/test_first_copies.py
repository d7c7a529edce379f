"""A crash of the target must not take back what a first copy had committed; if so, it is seen."""

import pytest

from shardrouter.topology import MoveState
from tests.integration.rebalance.conftest import Prepared
from tests.support.eventually import eventually
from tests.support.moving_here import Places, die_at, run_move

COMMIT = "SELECT subsynccommit FROM pg_subscription"

TAKEN_BACK = """
SET allow_system_table_mods = on;
UPDATE pg_subscription_rel SET srsubstate = 'f', srsublsn = NULL
 WHERE srrelid = 'shardrouter.move_marker'::regclass
"""
"""What the catalogs of a target say whose crash took the last commit of a first copy back."""


@pytest.mark.parametrize("place", ["copying.subscribed", "copying.copied"])
def test_a_first_copy_that_can_never_end_is_begun_anew(prepared: Prepared, place: str) -> None:
    """Its slot is gone; Postgres starts a worker for ever that fails at once, and counts none."""
    bed, number = prepared.bed, prepared.create()

    def take_back() -> None:
        with bed.primary("s1") as target:
            eventually(
                lambda: (
                    target.execute(
                        "SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel"
                    ).fetchone()
                    == (True,)
                )
            )
            target.execute(TAKEN_BACK)

    places = Places({place: take_back})
    move = run_move(bed, number, failpoint=places)
    assert (move.state, move.attempt) == (MoveState.DONE, 2)
    assert prepared.owners() == {"s1"}
    bed.wait_clean()


def test_first_copies_commit_to_disk_and_the_stream_behind_them_does_not(
    prepared: Prepared,
) -> None:
    bed, number = prepared.bed, prepared.create()
    assert die_at(bed, number, "copying.copied")
    with bed.primary("s1") as target:
        assert target.execute(COMMIT).fetchall() == [("local",)]
    assert die_at(bed, number, "catching_up.caught_up")
    with bed.primary("s1") as target:
        assert target.execute(COMMIT).fetchall() == [("off",)]
    run_move(bed, number)
    bed.wait_clean()
