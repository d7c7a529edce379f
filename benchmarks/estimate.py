"""Turn samples into a median with its 95 % interval. Pure.

The interval is read off the sorted samples (binomial order statistics), so it needs no guess about
how timings are distributed and holds for skewed ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil, comb
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


def estimate_quantile(samples: Sequence[float], part: float) -> Estimate:
    """Return the value that so great a part of the samples does not exceed, with its interval.

    The interval ends at the greatest sample where too few were taken to see further, as with the
    99th percentile of fewer than a few hundred. Raises ValueError on no samples.
    """
    if not samples:
        raise ValueError("no samples")
    ordered = sorted(samples)
    count = len(ordered)
    below = list(accumulate(_chance(count, k, part) for k in range(count + 1)))
    allowed = (1 - CONFIDENCE) / 2
    low = max(sum(chance <= allowed for chance in below) - 1, 0)
    high = min(sum(chance < 1 - allowed for chance in below), count - 1)
    return Estimate(ordered[max(ceil(part * count) - 1, 0)], ordered[low], ordered[high])


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return our value divided by theirs, round by round. Raises ValueError on unequal lengths."""
    return [mine / other for mine, other in zip(ours, theirs, strict=True)]


def _chance(count: int, hits: int, part: float) -> float:
    """Return the chance that exactly so many of the samples lie below the true quantile."""
    return comb(count, hits) * part**hits * (1 - part) ** (count - hits)


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
