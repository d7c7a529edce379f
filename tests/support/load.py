"""Clients in threads that repeat something, and a note of how each repetition went."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, NamedTuple

import psycopg

from tests.support.eventually import PATIENCE, eventually

PAUSE_SECONDS: Final = 0.002
JOIN_SECONDS: Final = 30.0
LOST: Final = "lost"
UNMET: Final = "unmet"

Connection = psycopg.Connection[Any]
_TAGS: Final = itertools.count(1)


class Outcome(NamedTuple):
    """One repetition: when it ended, how long it took, the SQLSTATE of its error.

    LOST is the end of the connection without a word; UNMET a login that failed: libpq does not
    tell the SQLSTATE of that.
    """

    at: float
    seconds: float
    sqlstate: str | None
    text: str = ""


def echo(connection: Connection) -> None:
    """Ask for something that nobody else asks for; another answer is a wrong byte."""
    tag = f"tag {next(_TAGS)}"
    [(got,)] = connection.execute("SELECT %s::text", [tag]).fetchall()
    if got != tag:
        raise AssertionError(f"asked for {tag!r}, got {got!r}")


class Load:
    """``clients`` threads. Each connects, repeats ``act``, and connects again when it has to."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        clients: int = 4,
        act: Callable[[Connection], None] = echo,
        *,
        reconnects: bool = True,
    ) -> None:
        self.outcomes: list[Outcome] = []
        self.wrong: list[BaseException] = []
        """Anything that is no error of a database: wrong answers above all."""
        self._connect = connect
        self._act = act
        self._reconnects = reconnects
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    @contextmanager
    def running(self) -> Iterator["Load"]:
        """Run for as long as the block; a thread that does not end is a hang."""
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._is_over.set()
            for thread in self._threads:
                thread.join(JOIN_SECONDS * PATIENCE)
        assert not any(thread.is_alive() for thread in self._threads), "a client hangs"
        assert self.wrong == []

    def _run(self) -> None:
        connection: Connection | None = None
        while not self._is_over.is_set():
            began = time.monotonic()
            unsaid = UNMET
            try:
                if connection is None:
                    connection = self._connect()
                unsaid = LOST
                self._act(connection)
                self._note(began, None)
            except psycopg.Error as error:
                self._note(began, error.sqlstate or unsaid, str(error))
                if connection is None or connection.closed or connection.broken:
                    if connection is not None and not self._reconnects:
                        return
                    connection = None
            except BaseException as error:
                self.wrong.append(error)
                return
            self._is_over.wait(PAUSE_SECONDS)
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()

    def _note(self, began: float, sqlstate: str | None, text: str = "") -> None:
        now = time.monotonic()
        self.outcomes.append(Outcome(now, now - began, sqlstate, text))

    # What came of it

    @property
    def done(self) -> int:
        return sum(outcome.sqlstate is None for outcome in self.outcomes)

    def wait_for_more(self, count: int = 20, deadline_seconds: float = 20.0) -> None:
        """Wait until so many more repetitions were well."""
        before = self.done
        eventually(lambda: self.done >= before + count, deadline_seconds)

    def errors(self) -> Counter[str]:
        """Return how often which SQLSTATE came."""
        return Counter(o.sqlstate for o in self.outcomes if o.sqlstate is not None)

    def failures(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.sqlstate is not None]

    def longest_seconds(self) -> float:
        return max((outcome.seconds for outcome in self.outcomes), default=0.0)
