"""How fast a copy goes and how long it will take. Pure but for the clock it is given."""

from collections import deque
from collections.abc import MutableMapping
from typing import Any, Final

WINDOW_SECONDS: Final = 10.0


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
