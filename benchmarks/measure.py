"""Time contenders side by side: in each round every contender runs, in turning order.

Whatever disturbs the machine for longer than a round disturbs all contenders alike, so a ratio
taken within a round is steadier than the ratio of two runs.
"""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter_ns
from typing import Final, TypeVar

from benchmarks.estimate import ratios
from benchmarks.progress import Progress

NANOSECONDS: Final = 1e9

Item = TypeVar("Item")

Block = Callable[[int], float]
"""Does the work so many times and returns the seconds that one took."""


class WrongAnswer(Exception):
    """The measured code did not do what it is measured for: the numbers mean nothing."""


def check(is_right: bool, what: str) -> None:
    """Raise WrongAnswer unless the condition holds."""
    if not is_right:
        raise WrongAnswer(what)


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to do the work."""

    name: str
    block: Block


@dataclass(frozen=True, slots=True)
class Rounds:
    """Seconds per call of each contender, by round."""

    seconds: Mapping[str, Sequence[float]]

    def of(self, name: str, scale: float = 1.0) -> list[float]:
        """Return one contender's values in another unit: ``scale`` of them make a second."""
        return [value * scale for value in self.seconds[name]]

    def ratio(self, ours: str, theirs: str) -> list[float]:
        """Return the ratio within each round."""
        return ratios(self.seconds[ours], self.seconds[theirs])


def run_rounds(
    contenders: Sequence[Contender], rounds: int, calls: int, progress: Progress
) -> Rounds:
    """Warm every contender up, then run the rounds; ``calls`` is the length of a block."""
    for contender in contenders:
        contender.block(calls)
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        gc.collect()  # no contender pays for another's rubbish
        for contender in turned(contenders, number):
            seconds[contender.name].append(contender.block(calls))
        progress.step(number + 1, rounds)
    return Rounds(seconds)


def turned(contenders: Sequence[Item], number: int) -> list[Item]:
    """Return the order of a round: every contender is first equally often."""
    start = number % len(contenders)
    return [*contenders[start:], *contenders[:start]]


def each_call(call: Callable[[], object]) -> Block:
    """Time every call by itself and take the median: for calls of at least 10 us."""

    def block(calls: int) -> float:
        taken = []
        for _ in range(calls):
            start = perf_counter_ns()
            call()
            taken.append(perf_counter_ns() - start)
        return median(taken) / NANOSECONDS

    return block


def each_await(runner: asyncio.Runner, call: Callable[[], Awaitable[object]]) -> Block:
    """The same for coroutines, all on the runner's loop."""

    async def timed(calls: int) -> float:
        taken = []
        for _ in range(calls):
            start = perf_counter_ns()
            await call()
            taken.append(perf_counter_ns() - start)
        return median(taken) / NANOSECONDS

    return lambda calls: runner.run(timed(calls))


def whole_loop(loop: Callable[[int], object]) -> Block:
    """Time a loop as a whole and divide: for calls too short for the clock.

    The cost of the loop itself, some 10 ns a turn, is counted in.
    """

    def block(calls: int) -> float:
        start = perf_counter_ns()
        loop(calls)
        return (perf_counter_ns() - start) / calls / NANOSECONDS

    return block
