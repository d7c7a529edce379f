"""Show moves while they run, and let Ctrl-C and SIGTERM end this process without harm to them."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from shardrouter.catalog import Move
from shardrouter.cli.output import ExitCode, stderr
from shardrouter.cli.quantities import bytes_words, part_words, seconds_words
from shardrouter.cli.rebalance_tables import state_words
from shardrouter.rebalance import MoveStatus, OnProgress, Stop
from shardrouter.topology import CUTTING_OVER, MoveState

REFRESHES_A_SECOND: Final = 4
_COLUMNS: Final = ("move", "from", "to", "slots", "state", "copied", "how it goes")
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class MoveDisplay:
    """The latest of each move. Movers' threads write it; the screen's thread reads it."""

    def __init__(self, moves: Sequence[Move], tell: Callable[[str], None] | None) -> None:
        self._lock = threading.Lock()
        self._latest = {move.number: (move, move.progress) for move in moves}
        self._told: dict[int, tuple[object, ...]] = {}
        self._tell = tell
        """Told a line for each change of a state, where no table can be kept on the screen."""

        self._word = ""

    def __call__(self, move: Move, progress: Mapping[str, Any]) -> None:
        """Note how a move stands."""
        with self._lock:
            self._latest[move.number] = (move, dict(progress))
            news = (move.state, move.attempt, move.attention, move.held)
            is_news = self._told.get(move.number) != news
            self._told[move.number] = news
        if is_news and self._tell is not None:
            self._tell(line_of(move, progress))

    def say(self, text: str) -> None:
        """Show a word on the work as a whole. Called by signal handlers."""
        if self._tell is not None:
            self._tell(text)
        self._word = text

    def __rich__(self) -> Table:
        table = Table(box=None, pad_edge=False, show_edge=False, header_style="bold")
        table.caption = self._word or None
        for column in _COLUMNS:
            table.add_column(column, overflow="ellipsis", no_wrap=True)
        with self._lock:
            rows = [self._latest[number] for number in sorted(self._latest)]
        for move, progress in rows:
            table.add_row(*(Text(cell) for cell in _cells(move, progress)))
        return table


def line_of(move: Move, progress: Mapping[str, Any]) -> str:
    """Return one line about a move, for logs."""
    number, source, target, slots, state, _, detail = _cells(move, progress)
    told = f": {detail}" if detail else ""
    return f"move {number}: {state}, {source} -> {target}, {slots} slots{told}"


def _cells(move: Move, progress: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(move.number),
        move.source,
        move.target,
        str(len(move.slots)),
        state_words(move.state, held=move.held, attention=move.attention),
        part_words(MoveStatus(move).copied_of(progress)),
        move.attention or detail_of(move.state, progress),
    )


def detail_of(state: MoveState, progress: Mapping[str, Any]) -> str:
    """Return rows, bytes, rate, ETA, lag and what is waited for, as far as they are of interest."""
    parts: list[str] = []
    if state is MoveState.COPYING and "rows_copied" in progress:
        parts.append(f"{progress['rows_copied']} rows, {bytes_words(progress.get('bytes_copied'))}")
        if progress.get("rows_per_second"):
            parts.append(f"{progress['rows_per_second']} rows/s")
        if progress.get("eta_seconds") is not None:
            parts.append(f"{seconds_words(progress['eta_seconds'])} left")
    elif state is MoveState.VERIFYING and "rows_verified" in progress:
        parts.append(f"{progress['rows_verified']} rows compared")
    elif state is MoveState.SOAKING and "soak_seconds_left" in progress:
        parts.append(f"{seconds_words(progress['soak_seconds_left'])} left")
    elif "rows_deleted" in progress and state in _DELETING:
        parts.append(f"{progress['rows_deleted']} rows deleted")
    if state not in _DELETING and progress.get("lag_bytes"):
        parts.append(f"{bytes_words(progress['lag_bytes'])} behind")
    if progress.get("waits_for"):
        parts.append(f"waits for {progress['waits_for']}")
    return ", ".join(parts)


_DELETING: Final = frozenset({MoveState.CLEANING, MoveState.RESTARTING, MoveState.ABORTING})


def run_shown(
    moves: Sequence[Move], work: Callable[[OnProgress, Stop], list[Move]]
) -> tuple[list[Move], bool]:
    """Run the work with its progress on stderr; return its moves, and True when it was stopped.

    The first Ctrl-C or SIGTERM asks the work to stop; writers never wait longer for it. A second
    one ends the process now.
    """
    stop = Stop()
    console = Console(stderr=True)
    is_screen = console.is_terminal
    display = MoveDisplay(moves, None if is_screen else _tell)
    with _signals_ask(stop, display.say):
        if not is_screen:
            return work(display, stop), stop.is_set()
        with Live(display, console=console, refresh_per_second=REFRESHES_A_SECOND):
            return work(display, stop), stop.is_set()


@contextmanager
def _signals_ask(stop: Stop, say: Callable[[str], None]) -> Iterator[None]:
    def ask(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            # As after a crash: whoever resumes finds all it needs in the catalog and the shards.
            stderr.show_cursor(True)
            os._exit(ExitCode.INTERRUPTED)
        stop.set()
        say("stopping; once more ends it at once")

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread hears signals
        return
    before = {number: signal.signal(number, ask) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell(line: str) -> None:
    stderr.print(line, markup=False)


def tell_how_to_resume(moves: Sequence[Move]) -> None:
    """Say where the moves of a process that was stopped are, and how they go on."""
    for move in moves:
        if not move.is_over:
            held = ", writers wait" if move.state in CUTTING_OVER else ""
            stderr.print(f"move {move.number} is {move.state}{held}", markup=False)
    stderr.print(
        "stopped; nothing is lost: `shardrouter rebalance resume` goes on, here or anywhere",
        markup=False,
    )
