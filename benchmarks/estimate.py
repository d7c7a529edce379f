"""Turn samples into a median with its 95 % interval. Pure.

The interval is read off the sorted samples (binomial order statistics), so it needs no guess about
how timings are distributed and holds for skewed ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from statistics import median
from typing import Final

CONFIDENCE: Final = 0.95
SPREAD: Final = "95 % interval of the median (order statistics; all samples where fewer than 6)"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A median, and where the true median lies with 95 % confidence."""

    median: float
    low: float
    high: float


def estimate(samples: Sequence[float]) -> Estimate:
    """Return the median of the samples with its interval. Raises ValueError on no samples."""
    if not samples:
        raise ValueError("no samples")
    ordered = sorted(samples)
    outside = _samples_outside(len(ordered))
    return Estimate(median(ordered), ordered[outside], ordered[-1 - outside])


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return our value divided by theirs, round by round. Raises ValueError on unequal lengths."""
    return [mine / other for mine, other in zip(ours, theirs, strict=True)]


def _samples_outside(count: int) -> int:
    """Return how many samples at each end the interval may leave out.

    Each sample lies below the median with probability 1/2, so the chance that the median is
    outside of the interval is that of a binomial tail, on both sides.
    """
    allowed = (1 - CONFIDENCE) / 2
    outside, tail = 0, 0.5**count
    while tail <= allowed:
        outside += 1
        tail += comb(count, outside) * 0.5**count
    return max(0, outside - 1)
