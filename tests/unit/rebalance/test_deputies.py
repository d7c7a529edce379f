"""How many moves a router carries out at a time, and how it stops."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from shardrouter.catalog import Move
from shardrouter.config import Settings
from shardrouter.rebalance.running import deputies
from shardrouter.rebalance.running.deputies import AGAIN_SECONDS, Deputies
from shardrouter.rebalance.running.duties import Duty
from tests.support.eventually import eventually
from tests.support.move_rows import some_move


class Bench:
    """Deputies whose work lasts until it is let go, and a clock that stands."""

    def __init__(self) -> None:
        self.now = 100.0
        self.busy: set[int] = set()
        self.go_on = threading.Event()
        settings = Settings.model_validate({"catalog": {"dsn": "postgresql:///nowhere"}})
        self.deputies = Deputies(
            lambda: settings, "router", clock=lambda: self.now, work=self._work
        )

    def _work(self, move: Move, duty: Duty) -> None:
        self.busy.add(move.number)
        self.go_on.wait(10)
        self.busy.discard(move.number)

    def send(self, number: int, duty: Duty) -> bool:
        return self.deputies.send(replace(some_move(), number=number), duty)

    @contextmanager
    def let_go(self) -> Iterator[None]:
        self.go_on.set()
        eventually(lambda: not any(t.name.startswith("deputy") for t in threading.enumerate()))
        yield
        self.go_on.clear()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    with made.let_go():
        pass


def test_one_of_each_duty_and_cutovers_beside_it(bench: Bench) -> None:
    assert bench.send(1, Duty.CARRY_ON)
    assert not bench.send(2, Duty.CARRY_ON)
    assert bench.send(3, Duty.CLEAN_UP)
    assert bench.send(4, Duty.LOOK)
    assert [bench.send(n, Duty.FINISH_CUTOVER) for n in (5, 6, 7, 8, 9)] == [True] * 4 + [False]
    eventually(lambda: bench.busy == {1, 3, 4, 5, 6, 7, 8})


def test_a_move_is_carried_out_once_at_a_time(bench: Bench) -> None:
    assert bench.send(1, Duty.FINISH_CUTOVER)
    assert not bench.send(1, Duty.FINISH_CUTOVER)
    with bench.let_go():
        assert bench.send(1, Duty.FINISH_CUTOVER)


def test_what_failed_waits_but_lets_others_come(bench: Bench) -> None:
    assert bench.send(1, Duty.CARRY_ON)
    with bench.let_go():
        assert not bench.send(1, Duty.CARRY_ON)
        assert bench.send(2, Duty.CARRY_ON)
        eventually(lambda: not bench.busy)
        bench.now += AGAIN_SECONDS
        eventually(lambda: bench.send(1, Duty.CARRY_ON))


def test_after_a_stop_nothing_is_begun_and_a_laggard_is_not_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deputies, "CLOSE_SECONDS", 0.0)
    assert bench.send(1, Duty.CARRY_ON)
    bench.deputies.stop()
    assert not bench.send(2, Duty.CLEAN_UP)
