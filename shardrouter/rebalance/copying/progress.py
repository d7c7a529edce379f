"""How fast a copy goes and how long it will take. Pure but for the clock it is given."""

from collections import deque
from collections.abc import Collection, Mapping, MutableMapping
from typing import Any, Final

WINDOW_SECONDS: Final = 10.0

EXPECTED: Final = "rows_expected"
"""The fact that says how many rows each table was expected to have."""


class Rate:
    """The rate of a growing number over the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, now: float, total: int) -> float:
        """Note the number now; return how much it grew a second, 0 when that is not known."""
        self._seen.append((now, total))
        while now - self._seen[0][0] > WINDOW_SECONDS and len(self._seen) > 2:
            self._seen.popleft()
        began, first = self._seen[0]
        return (total - first) / (now - began) if now > began else 0.0


def rows_so_far(
    expected: Mapping[str, int], seen: Mapping[str, int], finished: Collection[str]
) -> int:
    """Return how many rows are copied, by table: as last seen, or as expected.

    A server says how far a copy has come only while it runs: what came after the last look is
    not seen.
    """
    names = {*seen, *finished}
    return sum(
        max(seen.get(name, 0), expected.get(name, 0) if name in finished else 0) for name in names
    )


def note_copied(
    progress: MutableMapping[str, Any], rate: Rate, now: float, rows: int, size: int
) -> None:
    """Write into a move's progress how much is copied, how fast that goes, when it is done."""
    a_second = max(0.0, rate.add(now, rows))
    progress["rows_copied"], progress["bytes_copied"] = rows, size
    progress["rows_per_second"] = round(a_second)
    left = progress.get("rows_total", 0) - rows
    if a_second > 0:
        progress["eta_seconds"] = round(max(0.0, left / a_second), 1)
