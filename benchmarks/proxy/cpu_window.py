"""Cut a stretch out of a series of samples of processor time. Pure.

A load generator logs in, runs and leaves; only the middle says what a query costs. The share of a
processor that the measured processes took within it, divided by the rate of queries, is the cost
of one, and no login is counted in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.proxy.accounting import CpuTime


@dataclass(frozen=True, slots=True)
class Sample:
    """Processor time at a moment of the monotonic clock."""

    at: float
    used: CpuTime


def used_between(samples: Sequence[Sample], start: float, end: float) -> CpuTime:
    """Return what was used between two moments, with straight lines between the samples.

    Raises ValueError unless the samples cover both.
    """
    return _used_at(samples, end) - _used_at(samples, start)


def _used_at(samples: Sequence[Sample], moment: float) -> CpuTime:
    for before, after in pairwise(samples):
        if before.at <= moment <= after.at:
            part = (moment - before.at) / (after.at - before.at)
            step = after.used - before.used
            return CpuTime(
                before.used.total + part * step.total,
                before.used.user + part * step.user,
                before.used.system + part * step.system,
            )
    raise ValueError(f"no samples around {moment}")
