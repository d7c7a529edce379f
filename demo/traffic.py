"""Programs that write and read all the time, and remember what they were told.

Each write adds an entry to a plane's log and counts it on the plane's own row, in one transaction.
So an entry that is lost shows in the log, and a transaction that took place twice in the count.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

import psycopg
from psycopg import sql
from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError

from demo.models import LogEntry, Stock
from shardrouter import Router, ShardRouterError

PAUSE_SECONDS: Final = 0.002
"""Between two writes of a program: the demo's machine has other work as well."""

JOIN_SECONDS: Final = 30.0
FAILURES_KEPT: Final = 3

ADD: Final = "INSERT INTO log_entries (tailnum, id, note) VALUES (%s, %s, 'written on the way')"
COUNT: Final = "UPDATE stock SET parts = parts + 1 WHERE tailnum = %s"
LOOK: Final = "SELECT count(*) FROM log_entries WHERE tailnum = %s AND id = %s"


class Door(Protocol):
    """A way to the shards, used by one thread. Raises what the way raises."""

    name: str

    def write(self, tailnum: str, id: int) -> None:
        """Add the entry and count it, in one transaction."""

    def sees(self, tailnum: str, id: int) -> bool:
        """True when a replica, fresh enough for this program, has the entry."""


class LibraryDoor:
    """A program that uses the library."""

    def __init__(self, router: Router) -> None:
        self.name = "library"
        self._router = router

    def write(self, tailnum: str, id: int) -> None:
        with self._router.session(key=tailnum) as session:
            session.add(LogEntry(tailnum=tailnum, id=id, note="written on the way"))
            count = update(Stock).where(Stock.tailnum == tailnum).values(parts=Stock.parts + 1)
            session.execute(count)
            session.commit()

    def sees(self, tailnum: str, id: int) -> bool:
        with self._router.session(key=tailnum, read="replica") as session:
            wanted = select(LogEntry.id).where(LogEntry.tailnum == tailnum, LogEntry.id == id)
            return session.scalar(wanted) == id


class ProxyDoor:
    """A program in any language, on the other side of the proxy."""

    def __init__(self, dsn: str) -> None:
        self.name = "proxy"
        self._connection = psycopg.connect(dsn, autocommit=True, application_name="demo")

    def write(self, tailnum: str, id: int) -> None:
        self._name(tailnum, "primary")
        with self._connection.transaction():
            self._connection.execute(ADD, [tailnum, id])
            self._connection.execute(COUNT, [tailnum])

    def sees(self, tailnum: str, id: int) -> bool:
        self._name(tailnum, "replica")
        row = self._connection.execute(LOOK, [tailnum, id]).fetchone()
        return row == (1,)

    def close(self) -> None:
        self._connection.close()

    def _name(self, tailnum: str, role: str) -> None:
        for setting, value in (("key", tailnum), ("role", role)):
            self._connection.execute(
                sql.SQL("SET shardrouter.{} = {}").format(sql.SQL(setting), sql.Literal(value))
            )


@dataclass(slots=True)
class Told:
    """What a program was told."""

    entries: list[tuple[str, int]] = field(default_factory=list)
    """Tail number and id of each acknowledged write."""

    reads: int = 0
    blind: int = 0
    """Reads that did not see what the program had written before."""

    failures: list[str] = field(default_factory=list)
    """What statements failed with; at most a few are kept."""

    failed: int = 0
    waits: list[tuple[float, float]] = field(default_factory=list)
    """When each write began, on the monotonic clock, and how many seconds it took."""

    def counts(self) -> Counter[str]:
        """Return how many writes each plane has had."""
        return Counter(tailnum for tailnum, _ in self.entries)


class Program:
    """A thread that writes, then reads what it wrote, until it is told to end."""

    def __init__(
        self,
        door: Door,
        tailnums: Sequence[str],
        new_id: Callable[[str], int],
        rng: random.Random,
    ) -> None:
        self.told = Told()
        self.name = door.name
        self._door = door
        self._tailnums = tailnums
        self._new_id = new_id
        self._rng = rng
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"demo-{door.name}")

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def end(self) -> None:
        """End the work; the statement that is under way is waited for."""
        self._is_over.set()
        self._thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        while not self._is_over.wait(PAUSE_SECONDS):
            tailnum = self._rng.choice(self._tailnums)
            try:
                self._write_and_read(tailnum)
            except (ShardRouterError, SQLAlchemyError, psycopg.Error) as error:
                self.told.failed += 1
                if len(self.told.failures) < FAILURES_KEPT:
                    self.told.failures.append(f"{self.name}: {error}".strip())

    def _write_and_read(self, tailnum: str) -> None:
        id = self._new_id(tailnum)
        began = time.monotonic()
        self._door.write(tailnum, id)
        self.told.waits.append((began, time.monotonic() - began))
        self.told.entries.append((tailnum, id))
        self.told.reads += 1
        self.told.blind += not self._door.sees(tailnum, id)


@contextmanager
def running(programs: Sequence[Program]) -> Iterator[None]:
    """Have the programs work for the block."""
    for program in programs:
        program.start()
    try:
        yield
    finally:
        for program in programs:
            program.end()
