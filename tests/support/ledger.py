"""What clients were told of their writes, and what that says of the rows that must be there.

Values only. ``ledger_work`` fills the ledger, ``ledger_shards`` reads the shards, ``problems``
compares the two: every acknowledged write stands exactly once and on its owner, a refused one
nowhere, and of one in doubt all or nothing.
"""

import itertools
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

INITIAL_BALANCE: Final = 1000
NAMED_PROBLEMS: Final = 10  # of one kind; the others are counted


class Outcome(StrEnum):
    """What the client knows of a write."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    IN_DOUBT = "in doubt"


class Kind(StrEnum):
    INSERT = "insert"
    ADD = "add"
    TRANSFER = "transfer"
    REMOVE = "remove"
    READ = "read"


@dataclass(frozen=True, slots=True)
class Write:
    """One write of one client."""

    kind: Kind
    number: int
    """Of its entries, unique in the ledger; for REMOVE that of the entry it removes."""

    amounts: Mapping[int, int]
    """What it enters on which account; an ADD counts the account up instead."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Failure:
    """A statement that the client was told has failed."""

    at: float
    seconds: float
    door: str
    kind: Kind
    sqlstate: str | None
    text: str

    def __str__(self) -> str:
        told = " ".join(self.text.split())[:200]
        return (
            f"at {self.at:.3f} after {self.seconds:.3f} s, {self.kind} by {self.door}:"
            f" {self.sqlstate or 'lost'} {told}"
        )


class Account(NamedTuple):
    """A row of ``ledger_account``."""

    counter: int
    balance: int


@dataclass(frozen=True, slots=True)
class Contents:
    """The rows of one shard."""

    accounts: Mapping[int, Account]
    entries: Mapping[tuple[int, int], int]
    """(account, number) -> amount."""


OwnerOf = Callable[[int], str]
"""The shard that owns an account's slot."""

MayHold = Callable[[int, str], bool]
"""True when a shard that does not own the account may hold rows of it: a motion says so."""


def holds_only_its_own(account: int, shard: str) -> bool:
    """The rule when no slot is in motion."""
    return False


@dataclass
class Ledger:
    """All that the clients of a test were told. Threads may write at once."""

    accounts: tuple[int, ...]
    """Each began with INITIAL_BALANCE and the counter 0."""

    writes: list[Write] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    anomalies: list[str] = field(default_factory=list)
    """Reads that missed an own write or went back, and answers that cannot be."""

    done: Counter[Kind] = field(default_factory=Counter)
    """Statements that went well."""

    done_at: dict[str, float] = field(default_factory=dict)
    """When a door last did something well."""

    longest_seconds: float = 0.0
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next_number(self) -> int:
        """Return a number that no other write has."""
        return next(self._numbers)

    def note(self, write: Write) -> None:
        self.writes.append(write)

    def note_rows(self, rows: Iterable[tuple[int, int]]) -> None:
        """Note (account, number) of entries that stand without a client's doing."""
        self.writes += [
            Write(Kind.INSERT, number, {account: 0}, Outcome.ACKNOWLEDGED)
            for account, number in rows
        ]

    def note_done(self, kind: Kind, door: str, at: float, seconds: float) -> None:
        with self._lock:
            self.done[kind] += 1
            self.done_at[door] = at
            self.longest_seconds = max(self.longest_seconds, seconds)

    @property
    def total_done(self) -> int:
        with self._lock:
            return sum(self.done.values())

    def summary(self) -> str:
        """Return what was done, for the report of a test."""
        with self._lock:
            done = ", ".join(f"{count} {kind}" for kind, count in sorted(self.done.items()))
        in_doubt = sum(write.outcome is Outcome.IN_DOUBT for write in self.writes)
        return f"{done}; {len(self.failures)} failed, {in_doubt} in doubt"


def problems(
    ledger: Ledger,
    shards: Mapping[str, Contents],
    owner_of: OwnerOf,
    may_hold: MayHold = holds_only_its_own,
) -> list[str]:
    """Return what is wrong in words, nothing when all is well.

    ``shards`` were read while nobody wrote. Failed statements are no problem here; look at
    ``ledger.failures``.
    """
    found = _Found()
    owned = {name: _owned(name, contents, owner_of) for name, contents in shards.items()}
    _check_places(found, shards, owner_of, may_hold)
    _check_entries(found, ledger, owned, owner_of)
    _check_accounts(found, ledger, owned, owner_of)
    for anomaly in ledger.anomalies:
        found.add("anomaly", anomaly)
    return found.told()


class _Found:
    """Problems by kind; many of one kind are told as a few and a count."""

    def __init__(self) -> None:
        self._by_kind: dict[str, list[str]] = defaultdict(list)

    def add(self, kind: str, what: str) -> None:
        self._by_kind[kind].append(what)

    def told(self) -> list[str]:
        lines = []
        for kind, found in self._by_kind.items():
            lines += [f"{kind}: {what}" for what in found[:NAMED_PROBLEMS]]
            if len(found) > NAMED_PROBLEMS:
                lines.append(f"{kind}: {len(found) - NAMED_PROBLEMS} more")
        return lines


def _owned(name: str, contents: Contents, owner_of: OwnerOf) -> Contents:
    return Contents(
        {key: row for key, row in contents.accounts.items() if owner_of(key) == name},
        {key: amount for key, amount in contents.entries.items() if owner_of(key[0]) == name},
    )


def _check_places(
    found: _Found, shards: Mapping[str, Contents], owner_of: OwnerOf, may_hold: MayHold
) -> None:
    for name, contents in shards.items():
        keys = [*((key, f"account {key}") for key in contents.accounts)]
        keys += [
            (account, f"entry {number} of account {account}")
            for account, number in contents.entries
        ]
        for account, what in keys:
            if owner_of(account) != name and not may_hold(account, name):
                found.add("stray", f"{what} stands on {name}, its owner is {owner_of(account)}")


def _check_entries(
    found: _Found, ledger: Ledger, owned: Mapping[str, Contents], owner_of: OwnerOf
) -> None:
    removals = {w.number: w.outcome for w in ledger.writes if w.kind is Kind.REMOVE}
    known: set[tuple[int, int]] = set()
    for write in ledger.writes:
        if write.kind in (Kind.ADD, Kind.REMOVE):
            continue
        stands = []
        for account, amount in write.amounts.items():
            known.add((account, write.number))
            owner = owner_of(account)
            there = owned[owner].entries.get((account, write.number))
            stands.append(there is not None)
            if there is not None and there != amount:
                found.add("changed", f"{_name(write, account)} is {there} on {owner}, not {amount}")
        _check_outcome(found, write, removals.get(write.number, Outcome.REFUSED), stands)
    for name, contents in owned.items():
        for account, number in contents.entries.keys() - known:
            found.add("from nowhere", f"entry {number} of account {account} on {name}")


def _check_outcome(found: _Found, write: Write, removal: Outcome, stands: list[bool]) -> None:
    what = f"{_name(write, *write.amounts)}, {write.outcome}"
    if removal is Outcome.ACKNOWLEDGED and any(stands):
        found.add("removed but there", what)
    elif removal is not Outcome.REFUSED:
        return
    elif write.outcome is Outcome.ACKNOWLEDGED and not all(stands):
        found.add("lost", what)
    elif write.outcome is Outcome.REFUSED and any(stands):
        found.add("refused but there", what)
    elif any(stands) and not all(stands):
        found.add("half there", what)


def _check_accounts(
    found: _Found, ledger: Ledger, owned: Mapping[str, Contents], owner_of: OwnerOf
) -> None:
    counted = _adds(ledger, Outcome.ACKNOWLEDGED)
    in_doubt = _adds(ledger, Outcome.IN_DOUBT)
    entered: Counter[int] = Counter()
    for contents in owned.values():
        for (account, _), amount in contents.entries.items():
            entered[account] += amount
    for account in ledger.accounts:
        owner = owner_of(account)
        row = owned[owner].accounts.get(account)
        if row is None:
            found.add("lost", f"account {account}, which {owner} owns")
            continue
        least, most = counted[account], counted[account] + in_doubt[account]
        if not least <= row.counter <= most:
            told = f"{row.counter} on {owner}, acknowledged {least}, in doubt {most - least}"
            found.add("miscounted", f"account {account} is {told}")
        if row.balance != INITIAL_BALANCE + entered[account]:
            told = (
                f"{row.balance} on {owner}, its entries make {INITIAL_BALANCE + entered[account]}"
            )
            found.add("unbalanced", f"account {account} has {told}")


def _adds(ledger: Ledger, outcome: Outcome) -> Counter[int]:
    return Counter(
        account
        for write in ledger.writes
        if write.kind is Kind.ADD and write.outcome is outcome
        for account in write.amounts
    )


def _name(write: Write, *accounts: int) -> str:
    return f"{write.kind} {write.number} of account {' and '.join(map(str, accounts))}"
