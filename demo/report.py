"""What the demo prints: headings, lines, tables and a progress bar; plain when piped."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

INDENT = "   "


class Mismatch(Exception):
    """An answer is not what it must be; the text says what differs."""


class Report:
    """Prints sections with their number. ``console`` decides about colours and width."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._sections = 0

    def title(self, text: str) -> None:
        """Print the first line."""
        self._console.print(text, style="bold", markup=False, highlight=False)

    def section(self, text: str) -> None:
        """Print the next section's heading."""
        self._sections += 1
        heading = f"\n{self._sections}. {text}"
        self._console.print(heading, style="bold", markup=False, highlight=False)

    def end(self, text: str) -> None:
        """Print the last lines."""
        self._console.print(f"\n{text}", markup=False, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print lines of a section."""
        for line in text.splitlines():
            self._console.print(INDENT + line, markup=False, highlight=False, soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Print rows under column names; numbers to the right."""
        table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
        for place, name in enumerate(columns):
            is_numeric = all(isinstance(row[place], int | float | Decimal) for row in rows)
            table.add_column(name, justify="right" if is_numeric else "left", no_wrap=True)
        for row in rows:
            table.add_row(*(_text(value) for value in row))
        with self._console.capture() as capture:
            self._console.print(table, highlight=False)
        for line in capture.get().splitlines():
            self._console.out(INDENT + line.rstrip(), highlight=False)

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Show that something takes its time; leaves nothing behind."""
        if self._console.is_terminal:
            with self._console.status(text):
                yield
        else:
            yield

    @contextmanager
    def progress(self, text: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show a bar; the block calls what it gets with the number of rows just done."""
        columns = (
            *(TextColumn(INDENT + text), BarColumn(), MofNCompleteColumn()),
            TimeRemainingColumn(compact=True),
        )
        is_shown = self._console.is_terminal
        with Progress(
            *columns, console=self._console, transient=True, disable=not is_shown
        ) as progress:
            task = progress.add_task(text, total=total)
            yield lambda rows: progress.advance(task, rows)

    @contextmanager
    def timed(self) -> Iterator["Stopwatch"]:
        """Measure the block; the stopwatch holds the seconds afterwards."""
        watch = Stopwatch()
        start = self._clock()
        yield watch
        watch.seconds = self._clock() - start


class Stopwatch:
    """Seconds a block took, known after it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @property
    def text(self) -> str:
        return f"{self.seconds:.2f} s" if self.seconds >= 1 else f"{self.seconds * 1000:.0f} ms"

    def rate(self, count: int) -> str:
        """Return how many a second, as text."""
        return f"{count / self.seconds:,.0f}"


def _text(value: Any) -> str:
    match value:
        case Decimal() | float():
            return f"{value:,.2f}"
        case int():
            return f"{value:,}"
        case _:
            return str(value)
