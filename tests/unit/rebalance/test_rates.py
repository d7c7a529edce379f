"""Rates from what the catalog remembers."""

from dataclasses import replace
from datetime import timedelta

import pytest

from shardrouter.catalog import JournalEvent, Move
from shardrouter.rebalance.planning.price import (
    ASSUMED_COPY_BYTES_PER_SECOND,
    ASSUMED_PAUSE_SECONDS,
    Basis,
    Expected,
)
from shardrouter.rebalance.planning.rates import copy_rates, rates_of
from tests.support.move_rows import NOON, some_move

MB = 1 << 20


def event(number: int, kind: str, second: float) -> JournalEvent:
    at = NOON + timedelta(seconds=second)
    return JournalEvent(at, "ann", "r", kind, {"move": number})


def copied(number: int, size: int) -> Move:
    return replace(some_move(number), progress={"bytes_total": size})


def test_nothing_measured_is_assumed() -> None:
    rates = rates_of([], [], {})
    assert rates.copy_bytes_per_second == Expected(ASSUMED_COPY_BYTES_PER_SECOND, Basis.ASSUMED)
    assert rates.pause_seconds == Expected(ASSUMED_PAUSE_SECONDS, Basis.ASSUMED)


def test_copies_are_measured_from_their_begin_to_their_end() -> None:
    moves = [copied(3, 1000), copied(2, 40 * MB), copied(1, 10 * MB)]
    events = [
        event(4, "move_catching_up", 99),  # of a move that is not among them
        event(3, "move_catching_up", 60),  # too small to tell
        event(3, "move_copying", 59),
        event(2, "move_catching_up", 50),
        event(1, "move_catching_up", 40),
        event(2, "move_copying", 30),
        event(1, "move_copying", 35),
        event(2, "move_copying", 10),  # an attempt that came to nothing
    ]
    assert copy_rates(moves, events) == [2 * MB, 2 * MB]


def test_the_median_is_expected() -> None:
    moves = [replace(some_move(n), pause_seconds=p) for n, p in enumerate((0.2, None, 0.04, 0.06))]
    assert rates_of(moves, [], {}).pause_seconds == Expected(pytest.approx(0.06), Basis.MEASURED)  # type: ignore[arg-type]
