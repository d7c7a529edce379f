"""Clients in threads that write and read accounts, and note in a ledger what they were told."""

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from shardrouter.errors import ShardRouterError
from tests.support.eventually import PATIENCE, eventually
from tests.support.ledger import Failure, Kind, Ledger, Outcome, Write
from tests.support.ledger_doors import Door, OpenDoor

PAUSE_SECONDS: Final = 0.002
RETRY_SECONDS: Final = 0.05
JOIN_SECONDS: Final = 60.0
_IN_DOUBT: Final = ("08", "57P01", "57P02", "40003")
"""SQLSTATEs after which nobody knows whether a statement took place: the connection was lost, or
the server ended it, perhaps after the commit."""

_NOT_SENT: Final = "08001"

_MIX: Final[Mapping[Kind, int]] = {
    Kind.READ: 4,
    Kind.INSERT: 3,
    Kind.ADD: 3,
    Kind.TRANSFER: 2,
    Kind.REMOVE: 1,
}


class Client:
    """One client: one door at a time, and what it has seen through it."""

    def __init__(
        self,
        ledger: Ledger,
        accounts: Mapping[Any, Sequence[int]],
        open_door: OpenDoor,
        rng: random.Random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._groups = [tuple(group) for group in accounts.values()]
        self._open = open_door
        self._rng = rng
        self._clock = clock
        self._door: Door | None = None
        self._name = "no door"
        self._counters: dict[int, int] = {}
        """The highest counter the session has seen or made, by account."""

        self._last: dict[int, int] = {}
        """The session's last acknowledged entry that stands, by account."""

        self._removable: dict[int, list[int]] = {}
        """Acknowledged inserts of the session, by account."""

        self._acts = {
            Kind.READ: self._read,
            Kind.INSERT: self._insert,
            Kind.ADD: self._add,
            Kind.TRANSFER: self._transfer,
            Kind.REMOVE: self._remove,
        }

    def act(self) -> bool:
        """Do one thing and note how it went; False when it failed."""
        group = self._rng.choice(self._groups)
        [kind] = self._rng.choices(list(_MIX), list(_MIX.values()))
        began = self._clock()
        try:
            self._ready()
            self._acts[kind](group)
        except (psycopg.Error, SQLAlchemyError, ShardRouterError) as error:
            self._fail(kind, began, error)
            return False
        except AssertionError as error:
            self._ledger.anomalies.append(f"{kind}: {error}")
            return False
        now = self._clock()
        self._ledger.note_done(kind, self._name, now, now - began)
        return True

    def close(self) -> None:
        if self._door is not None:
            self._door.close()

    def _ready(self) -> None:
        if self._door is None:
            self._door = self._open()
            self._name = self._door.name

    def _fail(self, kind: Kind, began: float, error: Exception) -> None:
        now = self._clock()
        failure = Failure(now, now - began, self._name, kind, sqlstate_of(error), str(error))
        self._ledger.failures.append(failure)
        if self._door is None:
            return
        try:
            is_new = self._door.begin_session()
        except psycopg.Error:
            self._door, is_new = None, True
        if is_new:  # nothing was promised of what another session wrote
            self._counters.clear()
            self._last.clear()
            self._removable.clear()

    # What it does

    @contextmanager
    def _writing(self, kind: Kind, number: int, amounts: Mapping[int, int]) -> Iterator[Door]:
        assert self._door is not None
        try:
            yield self._door
        except Exception as error:
            outcome = Outcome.IN_DOUBT if is_in_doubt(error) else Outcome.REFUSED
            self._ledger.note(Write(kind, number, amounts, outcome))
            raise
        self._ledger.note(Write(kind, number, amounts, Outcome.ACKNOWLEDGED))

    def _insert(self, group: Sequence[int]) -> None:
        account, number = self._rng.choice(group), self._ledger.next_number()
        with self._writing(Kind.INSERT, number, {account: 0}) as door:
            door.insert(account, number)
        self._last[account] = number
        self._removable.setdefault(account, []).append(number)

    def _add(self, group: Sequence[int]) -> None:
        account = self._rng.choice(group)
        with self._writing(Kind.ADD, self._ledger.next_number(), {account: 1}) as door:
            counter = door.add(account)
        self._see(account, counter - 1, "an own update")
        self._counters[account] = counter

    def _transfer(self, group: Sequence[int]) -> None:
        number, amount = self._ledger.next_number(), self._rng.randint(1, 9)
        source, target = self._rng.sample(group, 2)
        amounts = {source: -amount, target: amount}
        with self._writing(Kind.TRANSFER, number, amounts) as door:
            door.transfer(number, amounts)
        self._last[source] = self._last[target] = number

    def _remove(self, group: Sequence[int]) -> None:
        account = next((a for a in group if self._removable.get(a)), None)
        if account is None:
            return self._insert(group)
        number = self._removable[account].pop()
        if self._last.get(account) == number:
            del self._last[account]
        with self._writing(Kind.REMOVE, number, {account: 0}) as door:
            removed = door.remove(account, number)
        if removed != 1:
            self._ledger.anomalies.append(
                f"{door.name} removed {removed} rows of its entry {number} of account {account}"
            )
        return None

    def _read(self, group: Sequence[int]) -> None:
        account = self._rng.choice(group)
        number = self._last.get(account, 0)
        assert self._door is not None
        seen = self._door.read(account, number)
        name = self._door.name
        if seen is None:
            self._ledger.anomalies.append(f"{name} read no account {account}")
            return
        self._see(account, seen.counter, "a read")
        if number and not seen.has_entry:
            self._ledger.anomalies.append(
                f"{name} did not read its own entry {number} of account {account}"
            )

    def _see(self, account: int, counter: int, by: str) -> None:
        before = self._counters.get(account, 0)
        if counter < before:
            self._ledger.anomalies.append(
                f"account {account} went back from {before} to {counter} for {by}"
            )
        self._counters[account] = max(before, counter)


class Workload:
    """One thread for each door; each acts until the block ends."""

    def __init__(
        self,
        ledger: Ledger,
        accounts: Mapping[Any, Sequence[int]],
        doors: Sequence[OpenDoor],
        *,
        seed: int,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        """accounts: groups that lie in one slot each, with two accounts or more."""
        self.ledger = ledger
        self.crashes: list[BaseException] = []
        self._pause_seconds = pause_seconds
        self._is_over = threading.Event()
        self._clients = [
            Client(ledger, accounts, door, random.Random(seed + number))
            for number, door in enumerate(doors)
        ]
        self._threads = [
            threading.Thread(target=self._run, args=(client,), daemon=True)
            for client in self._clients
        ]

    @contextmanager
    def running(self) -> Iterator["Workload"]:
        """Run for as long as the block; a client that does not come to an end hangs."""
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._is_over.set()
            for thread in self._threads:
                thread.join(JOIN_SECONDS * PATIENCE)
        assert not any(thread.is_alive() for thread in self._threads), "a client hangs"
        if self.crashes:
            raise self.crashes[0]

    def wait_for_more(self, count: int = 20, deadline_seconds: float = 20.0) -> None:
        """Wait until so many more statements went well."""
        before = self.ledger.total_done
        eventually(lambda: self.ledger.total_done >= before + count, deadline_seconds)

    def _run(self, client: Client) -> None:
        try:
            while not self._is_over.is_set():
                was_well = client.act()
                self._is_over.wait(self._pause_seconds if was_well else RETRY_SECONDS)
            client.close()
        except BaseException as error:
            self.crashes.append(error)


def sqlstate_of(error: BaseException) -> str | None:
    """Return the SQLSTATE of an error of whatever door, None when the connection was lost."""
    cause: Any = error.orig if isinstance(error, DBAPIError) else error
    found = getattr(cause, "sqlstate", None)
    return found if isinstance(found, str) else None


def is_in_doubt(error: BaseException) -> bool:
    """True when the write may have taken place although its client was told of an error."""
    if not isinstance(error, psycopg.Error | DBAPIError | ShardRouterError):
        return True
    state = sqlstate_of(error)
    return state is None or (state.startswith(_IN_DOUBT) and state != _NOT_SENT)
