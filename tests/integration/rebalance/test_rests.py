"""A safe copy keeps the limits, though Postgres carries it out; without us it goes on."""

import time

import pytest

from shardrouter.rebalance.mover import Stops
from shardrouter.topology import MoveState
from tests.integration.rebalance.conftest import Prepared
from tests.plugins.fix_rebalance import StartMover
from tests.support.eventually import eventually
from tests.support.moving_here import run_move

ROWS = 20_000
SLOW = 65_536
"""Bytes a second: the least that can be set. The rows would take half a minute."""

COPIED = "SELECT count(*) > 0 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel"


@pytest.fixture
def slow(prepared: Prepared) -> int:
    """A safe move that is copied as slowly as can be."""
    prepared.bed.fill("s0", ROWS)
    number = prepared.create(copy_mode="safe")
    limit(prepared, number, SLOW)
    return number


def limit(prepared: Prepared, number: int, most: int | None) -> None:
    change = {"max_bytes_per_second": most}
    prepared.bed.moves.limit(number, change, actor="tests", reason="to last")


def progress(prepared: Prepared, number: int, name: str) -> object:
    return prepared.bed.move(number).progress.get(name)


def copied_bytes(prepared: Prepared, number: int) -> int:
    return int(str(progress(prepared, number, "bytes_copied") or 0))


def test_it_keeps_the_rate_until_that_is_changed(
    prepared: Prepared, slow: int, start_mover: StartMover
) -> None:
    began = time.monotonic()
    start_mover(prepared.bed, slow)
    eventually(lambda: "65536 bytes" in str(progress(prepared, slow, "waits_for")), 20)
    first = copied_bytes(prepared, slow)
    eventually(lambda: copied_bytes(prepared, slow) > first, 20)
    copied = copied_bytes(prepared, slow)
    # What is under way when a rest begins: a buffer of Postgres, and what a burst may save up.
    assert copied < SLOW * (time.monotonic() - began) + 4 * SLOW
    assert prepared.bed.move(slow).state is MoveState.COPYING
    limit(prepared, slow, None)
    eventually(lambda: prepared.bed.move(slow).state is MoveState.DONE, 20)
    prepared.bed.wait_clean()


@pytest.mark.slow
def test_it_goes_on_when_the_mover_dies(
    prepared: Prepared, slow: int, start_mover: StartMover
) -> None:
    """A rest is over at its time, whoever wrote it down; then nothing holds the copy up."""
    mover = start_mover(prepared.bed, slow)
    eventually(lambda: "65536 bytes" in str(progress(prepared, slow, "waits_for")), 20)
    mover.kill()
    with prepared.bed.primary("s1") as connection:
        eventually(lambda: connection.execute(COPIED).fetchone() == (True,), 20)
    limit(prepared, slow, None)
    eventually(lambda: prepared.bed.is_free(slow))
    assert run_move(prepared.bed, slow, stops=Stops(wait_soak=True)).state is MoveState.DONE
    prepared.bed.wait_clean()
