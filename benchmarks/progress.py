"""Show on stderr how far a run is: on a terminal a line that changes, else a line a benchmark."""

import sys
from time import monotonic
from typing import Final

REDRAW_SECONDS: Final = 0.2


class Progress:
    """Says which benchmark runs and which of its rounds."""

    def __init__(self) -> None:
        self._title = ""
        self._drawn_at = 0.0
        self._is_terminal = sys.stderr.isatty()

    def start(self, title: str) -> None:
        """Name what runs now."""
        self.finish()
        self._title = title
        if self._is_terminal:
            self._draw(title)
        else:
            print(title, file=sys.stderr, flush=True)

    def step(self, done: int, total: int) -> None:
        """Tell that so many of the steps are done."""
        if self._is_terminal and monotonic() - self._drawn_at > REDRAW_SECONDS:
            self._draw(f"{self._title}: {done}/{total}")

    def finish(self) -> None:
        """Clear the line."""
        if self._is_terminal:
            self._draw("")

    def _draw(self, text: str) -> None:
        self._drawn_at = monotonic()
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
