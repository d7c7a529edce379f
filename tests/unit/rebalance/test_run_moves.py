"""Several moves in one process: order, how many at a time, and when no more are begun."""

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from shardrouter.catalog import Move
from shardrouter.errors import MoveBusy, MoveTakenOver
from shardrouter.rebalance.mover import Stops
from shardrouter.rebalance.running.run_moves import OnProgress, Round, Stop, Stopped, ignore
from shardrouter.topology import MoveState
from tests.support.move_rows import some_move

Outcome = Callable[[int], Move]


def done(number: int) -> Move:
    return replace(some_move(number), state=MoveState.DONE)


def needs_help(number: int) -> Move:
    return replace(some_move(number), state=MoveState.VERIFYING, attention="rows differ")


def gives_up(number: int) -> Move:
    return replace(some_move(number), state=MoveState.ABORTED)


class Movers:
    """Stand-ins for movers: note what runs, end as told."""

    def __init__(self, **outcomes: Outcome) -> None:
        self.begun: list[int] = []
        self.most_at_once = 0
        self._running = 0
        self._lock = threading.Lock()
        self._outcomes = outcomes

    def carry(self, number: int, stops: Stops, halt: Stop, on_progress: OnProgress) -> Move:
        with self._lock:
            self.begun.append(number)
            self._running += 1
            self.most_at_once = max(self.most_at_once, self._running)
        try:
            return self._outcomes.get(f"m{number}", done)(number)
        finally:
            with self._lock:
                self._running -= 1


def run(movers: Movers, jobs: int = 1, keep_going: bool = False) -> Round:
    made = Round(movers.carry, Stop(), ignore, keep_going)
    made.all([1, 2, 3, 4], jobs, Stops())
    return made


def test_in_order_one_at_a_time() -> None:
    movers = Movers()
    run(movers).raise_first()
    assert movers.begun == [1, 2, 3, 4]
    assert movers.most_at_once == 1


def test_side_by_side() -> None:
    both = threading.Barrier(2, timeout=5)

    def meets(number: int) -> Move:
        both.wait()
        return done(number)

    movers = Movers(m1=meets, m2=meets)
    run(movers, jobs=2)
    assert movers.most_at_once == 2
    assert sorted(movers.begun) == [1, 2, 3, 4]


@pytest.mark.parametrize("outcome", [needs_help, gives_up])
def test_after_trouble_no_more_is_begun(outcome: Outcome) -> None:
    movers = Movers(m2=outcome)
    run(movers).raise_first()
    assert movers.begun == [1, 2]
    movers = Movers(m2=outcome)
    run(movers, keep_going=True)
    assert movers.begun == [1, 2, 3, 4]


def test_the_first_error_is_raised_when_the_others_rest() -> None:
    def busy(number: int) -> Move:
        raise MoveBusy(f"{number} is ann's")

    def taken(number: int) -> Move:
        raise MoveTakenOver(f"{number} is ann's")

    movers = Movers(m1=busy, m2=taken)
    ended = run(movers, keep_going=True)
    assert movers.begun == [1, 2, 3, 4]
    with pytest.raises(MoveBusy, match="1 is"):
        ended.raise_first()


def test_a_stop_is_no_error_and_begins_nothing() -> None:
    halt = Stop()

    def stopped(number: int) -> Move:
        halt.set()
        raise Stopped

    movers = Movers(m2=stopped)
    ended = Round(movers.carry, halt, ignore, keep_going=True)
    ended.all([1, 2, 3], 1, Stops())
    ended.raise_first()
    assert movers.begun == [1, 2]
