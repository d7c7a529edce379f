"""What a load noted of its transactions, and what that says of a stretch of time. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Final, Self

PERCENTILE: Final = 0.99


@dataclass(frozen=True, slots=True)
class Transaction:
    """One that was acknowledged. Times are on the system's monotonic clock."""

    began: float
    seconds: float
    is_moving: bool
    """True when its account is among those that move."""

    @property
    def ended(self) -> float:
        return self.began + self.seconds


@dataclass(slots=True)
class Notes:
    """What one load has done."""

    transactions: list[Transaction] = field(default_factory=list)
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    """What the first of them failed with."""

    added: int = 0
    """The sum of what was acknowledged."""

    def join(self, others: Iterable[Self]) -> None:
        """Add what others have done."""
        for other in others:
            self.transactions += other.transactions
            self.failed += other.failed
            self.failures += other.failures
            self.added += other.added

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        done = [[one.began, one.seconds, one.is_moving] for one in self.transactions]
        rest = {"failed": self.failed, "failures": self.failures, "added": self.added}
        return {"transactions": done, **rest}

    @classmethod
    def from_json(cls, item: dict[str, Any]) -> Self:
        """Return the notes of their JSON form."""
        done = [Transaction(*one) for one in item["transactions"]]
        return cls(done, item["failed"], item["failures"], item["added"])


def longest_during(notes: Notes, start: float, end: float) -> float:
    """Return how long the longest transaction on moving slots took that ran in this stretch.

    0 when none did.
    """
    return max(
        (
            one.seconds
            for one in notes.transactions
            if one.is_moving and one.began <= end and one.ended >= start
        ),
        default=0.0,
    )


def p99_during(notes: Notes, stretches: Sequence[tuple[float, float]]) -> float:
    """Return the 99th percentile of the transactions that ended in one of the stretches.

    Raises ValueError when there is none.
    """
    taken = sorted(
        one.seconds
        for one in notes.transactions
        if any(start <= one.ended <= end for start, end in stretches)
    )
    if not taken:
        raise ValueError("no transaction ended there")
    return taken[ceil(PERCENTILE * len(taken)) - 1]
