"""Counts of queries by slot that fade: what was busy an hour ago hardly counts any more.

Faded counts of several routers add up, however long each of them has run: so a router that ends
and the one that takes its place count as one.
"""

from collections.abc import Mapping
from typing import Final

from shardrouter.topology.ids import Slot

HALF_LIFE_SECONDS: Final = 600.0  # long enough that a quiet minute does not move slots
_NOTHING: Final = 0.01  # a query of an hour ago


class FadingCounts:
    """The queries of one router by slot. ``now`` is any clock that goes forward."""

    def __init__(self) -> None:
        self._counts: dict[Slot, float] = {}
        self._at = 0.0

    def add(self, queries: Mapping[Slot, int], now: float) -> None:
        """Let what was counted before fade, and add what came since."""
        left = 0.5 ** (max(0.0, now - self._at) / HALF_LIFE_SECONDS)
        self._at = now
        faded = {slot: count * left for slot, count in self._counts.items()}
        for slot, count in queries.items():
            faded[slot] = faded.get(slot, 0.0) + count
        self._counts = {slot: count for slot, count in faded.items() if count >= _NOTHING}

    def values(self) -> Mapping[Slot, float]:
        """Return the counts as they were at the last ``add``."""
        return self._counts
