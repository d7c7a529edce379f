"""The rows of a result: a named number with its spread and, where there is one, its bound. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from benchmarks.estimate import Estimate, estimate

DIGITS = 4  # significant ones in the JSON; no timing here is truer than that


@dataclass(frozen=True, slots=True)
class Row:
    """One measured quantity. The bound is the most that its median may be."""

    name: str
    unit: str
    median: float
    low: float
    high: float
    bound: float | None = None

    @classmethod
    def of(cls, name: str, unit: str, samples: Sequence[float], bound: float | None = None) -> Self:
        """Return the row of some samples, which are in the unit already."""
        found: Estimate = estimate(samples)
        return cls(name, unit, found.median, found.low, found.high, bound)

    @property
    def holds(self) -> bool | None:
        """Whether the median keeps the bound; None where there is none."""
        return None if self.bound is None else self.median <= self.bound

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form, rounded to significant digits."""
        return {
            "name": self.name,
            "unit": self.unit,
            "median": rounded(self.median),
            "low": rounded(self.low),
            "high": rounded(self.high),
            "bound": self.bound,
            "holds": self.holds,
        }

    @classmethod
    def from_json(cls, item: Mapping[str, Any]) -> Self:
        """Return the row of its JSON form; ``holds`` follows from the rest."""
        return cls(*(item[name] for name in ("name", "unit", "median", "low", "high", "bound")))


def rounded(value: float) -> float:
    """Return the value with the digits that mean something."""
    return float(f"{value:.{DIGITS}g}")
