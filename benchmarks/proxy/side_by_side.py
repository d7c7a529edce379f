"""Measure several doors in turn and set them side by side: like ``benchmarks.measure``, for blocks
with more than one result.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from benchmarks.estimate import ratios
from benchmarks.machine import build_name
from benchmarks.measure import turned
from benchmarks.progress import Progress
from benchmarks.proxy.doors import OURS, PEER, PURE
from benchmarks.rows import Row

RATE_BOUND: Final = round(1 / 0.9, 3)  # "at least 0.9 of the peer's rate", from the other side

Outcome = TypeVar("Outcome")


def interleaved(
    blocks: Mapping[str, Callable[[], Outcome]], rounds: int, progress: Progress
) -> dict[str, list[Outcome]]:
    """Warm every contender up, then run each once a round, in turning order."""
    for block in blocks.values():
        block()
    return in_turn(blocks, rounds, progress)


def in_turn(
    blocks: Mapping[str, Callable[[], Outcome]], rounds: int, progress: Progress
) -> dict[str, list[Outcome]]:
    """The same without a warm-up, for contenders that start anew each time."""
    found: dict[str, list[Outcome]] = {name: [] for name in blocks}
    for number in range(rounds):
        for name in turned(list(blocks), number):
            found[name].append(blocks[name]())
        progress.step(number + 1, rounds)
    return found


@dataclass(frozen=True, slots=True)
class SideBySide(Generic[Outcome]):
    """What was found, by contender and round, and the rows that say it.

    Bounds are meant for the compiled proxy and hold for nobody else.
    """

    found: Mapping[str, Sequence[Outcome]]
    notes: Mapping[str, str] = field(default_factory=dict)
    """What has to be said about a contender besides its name."""

    def label(self, name: str) -> str:
        """Return how rows call a contender."""
        note = self.notes.get(name)
        return f"{name} ({note})" if note else name

    def against_peer(
        self, what: str, value: Callable[[Outcome], float], bound: float | None
    ) -> list[Row]:
        """Return our values divided by the peer's; no rows without a peer."""
        return [
            Row.of(
                f"{what}: {name} / {self.label(PEER)}",
                "x",
                ratios(self.values(name, value), self.values(PEER, value)),
                _bound_of(name, bound),
            )
            for name in (OURS, PURE)
            if name in self.found and PEER in self.found
        ]

    def rate_of_peer(self, what: str, value: Callable[[Outcome], float]) -> list[Row]:
        """Return the peer's rates divided by ours: a row's bound is an upper one."""
        return [
            Row.of(
                f"{what}: {self.label(PEER)} / {name}",
                "x",
                ratios(self.values(PEER, value), self.values(name, value)),
                _bound_of(name, RATE_BOUND),
            )
            for name in (OURS, PURE)
            if name in self.found and PEER in self.found
        ]

    def each(
        self,
        what: str,
        unit: str,
        value: Callable[[Outcome], float],
        *,
        bound: float | None = None,
        leave_out: str = "",
    ) -> list[Row]:
        """Return a row for each contender but one."""
        return [
            Row.of(
                f"{what}: {self.label(name)}",
                unit,
                self.values(name, value),
                _bound_of(name, bound),
            )
            for name in self.found
            if name != leave_out
        ]

    def values(self, name: str, value: Callable[[Outcome], float]) -> list[float]:
        """Return one value of a contender, by round."""
        return [value(one) for one in self.found[name]]


def _bound_of(name: str, bound: float | None) -> float | None:
    return bound if name == OURS and build_name() == "compiled" else None
