"""The ledger complains of what must not be: planted faults, one at a time, and none is missed."""

import random
from collections.abc import Mapping

import psycopg
import pytest

from tests.support.ledger import (
    INITIAL_BALANCE,
    Account,
    Contents,
    Kind,
    Ledger,
    Outcome,
    Write,
    problems,
)
from tests.support.ledger_doors import Seen
from tests.support.ledger_work import Client, is_in_doubt

OWNERS = {1: "s0", 2: "s0", 3: "s1"}
ACKED, REFUSED, DOUBT = Outcome.ACKNOWLEDGED, Outcome.REFUSED, Outcome.IN_DOUBT


def ledger_of(*writes: Write) -> Ledger:
    return Ledger(tuple(OWNERS), writes=list(writes))


def insert(number: int, account: int = 1, outcome: Outcome = ACKED) -> Write:
    return Write(Kind.INSERT, number, {account: 0}, outcome)


def transfer(number: int, outcome: Outcome = ACKED) -> Write:
    return Write(Kind.TRANSFER, number, {1: -5, 2: 5}, outcome)


def add(outcome: Outcome = ACKED) -> Write:
    return Write(Kind.ADD, 99, {1: 1}, outcome)


def remove(number: int, outcome: Outcome = ACKED) -> Write:
    return Write(Kind.REMOVE, number, {1: 0}, outcome)


class Shards:
    """Rows of two shards, to be spoilt."""

    def __init__(self) -> None:
        self.accounts = {
            shard: {key: Account(0, INITIAL_BALANCE) for key in OWNERS if OWNERS[key] == shard}
            for shard in ("s0", "s1")
        }
        self.entries: dict[str, dict[tuple[int, int], int]] = {"s0": {}, "s1": {}}

    def with_entry(self, account: int, number: int, amount: int = 0) -> "Shards":
        shard = OWNERS[account]
        self.entries[shard][account, number] = amount
        row = self.accounts[shard][account]
        self.accounts[shard][account] = row._replace(balance=row.balance + amount)
        return self

    def with_counter(self, counter: int) -> "Shards":
        self.accounts["s0"][1] = self.accounts["s0"][1]._replace(counter=counter)
        return self

    def problems(self, ledger: Ledger, **more: object) -> list[str]:
        contents: Mapping[str, Contents] = {
            shard: Contents(self.accounts[shard], self.entries[shard]) for shard in self.accounts
        }
        return problems(ledger, contents, OWNERS.__getitem__, **more)  # type: ignore[arg-type]


def test_all_is_well() -> None:
    shards = Shards().with_entry(1, 7).with_entry(3, 8).with_counter(2)
    shards.with_entry(1, 9, -5).with_entry(2, 9, 5)
    writes = (insert(7), insert(8, account=3), transfer(9), add(), add())
    gone = (insert(10), remove(10), insert(11, outcome=REFUSED), insert(12, outcome=DOUBT))
    assert shards.problems(ledger_of(*writes, *gone)) == []


@pytest.mark.parametrize("applied", [0, 1])
def test_what_is_in_doubt_may_be_either(applied: int) -> None:
    shards = Shards().with_counter(applied)
    if applied:
        shards.with_entry(1, 7).with_entry(1, 8, -5).with_entry(2, 8, 5)
    ledger = ledger_of(insert(7, outcome=DOUBT), transfer(8, DOUBT), add(DOUBT))
    assert shards.problems(ledger) == []


def test_a_lost_row() -> None:
    assert shards_told(Shards(), insert(7)) == ["lost: insert 7 of account 1, acknowledged"]


def test_a_lost_account() -> None:
    shards = Shards()
    del shards.accounts["s1"][3]
    assert shards_told(shards) == ["lost: account 3, which s1 owns"]


def test_a_row_on_the_wrong_shard_only() -> None:
    shards = Shards()
    shards.entries["s1"][1, 7] = 0
    assert shards_told(shards, insert(7)) == [
        "stray: entry 7 of account 1 stands on s1, its owner is s0",
        "lost: insert 7 of account 1, acknowledged",
    ]


def test_a_doubled_row() -> None:
    shards = Shards().with_entry(1, 7)
    shards.entries["s1"][1, 7] = 0
    stray = ["stray: entry 7 of account 1 stands on s1, its owner is s0"]
    assert shards_told(shards, insert(7)) == stray
    ledger = ledger_of(insert(7))
    assert shards.problems(ledger, may_hold=lambda account, shard: account == 1) == []
    assert shards.problems(ledger, may_hold=lambda account, shard: account == 2) == stray


def test_a_row_that_was_refused_or_removed_but_stands() -> None:
    shards = Shards().with_entry(1, 7).with_entry(1, 8).with_entry(1, 9)
    assert shards_told(shards, insert(7, outcome=REFUSED), insert(8), remove(8)) == [
        "refused but there: insert 7 of account 1, refused",
        "removed but there: insert 8 of account 1, acknowledged",
        "from nowhere: entry 9 of account 1 on s0",
    ]


@pytest.mark.parametrize("outcome", [ACKED, DOUBT])
def test_half_a_transfer(outcome: Outcome) -> None:
    told = shards_told(Shards().with_entry(1, 7, -5), transfer(7, outcome))
    kind = "lost" if outcome is ACKED else "half there"
    assert told == [f"{kind}: transfer 7 of account 1 and 2, {outcome}"]


@pytest.mark.parametrize(("counter", "is_well"), [(0, False), (1, True), (2, True), (3, False)])
def test_a_lost_and_a_doubled_update(counter: int, is_well: bool) -> None:
    told = shards_told(Shards().with_counter(counter), add(), add(DOUBT), add(REFUSED))
    assert told == (
        [] if is_well else [f"miscounted: account 1 is {counter} on s0, acknowledged 1, in doubt 1"]
    )


def test_a_balance_without_its_entries() -> None:
    shards = Shards().with_entry(1, 7, -5).with_entry(2, 7, 4)
    shards.accounts["s0"][2] = Account(0, INITIAL_BALANCE)
    assert shards_told(shards, transfer(7)) == [
        "changed: transfer 7 of account 2 is 4 on s0, not 5",
        "unbalanced: account 2 has 1000 on s0, its entries make 1004",
    ]


def test_many_of_one_kind_are_counted() -> None:
    told = shards_told(Shards(), *(insert(number) for number in range(15)))
    assert len(told) == 11
    assert told[-1] == "lost: 5 more"


def shards_told(shards: Shards, *writes: Write) -> list[str]:
    return shards.problems(ledger_of(*writes))


class StaleDoor:
    """Answers reads from a moment long ago; writes may break."""

    name = "stale"

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.seen: Seen | None = Seen(0, has_entry=False)
        self.counter = 0

    def insert(self, account: int, number: int) -> None:
        if self.error is not None:
            raise self.error

    def add(self, account: int) -> int:
        self.counter += 1
        return self.counter

    def remove(self, account: int, number: int) -> int:
        return 0

    def transfer(self, number: int, amounts: dict[int, int]) -> None: ...

    def read(self, account: int, number: int) -> Seen | None:
        return self.seen

    def begin_session(self) -> bool:
        return False

    def close(self) -> None: ...


def client_of(door: StaleDoor) -> tuple[Client, Ledger]:
    ledger = Ledger((1, 2))
    return Client(ledger, {0: [1, 2]}, lambda: door, random.Random(1)), ledger


def test_stale_reads_are_anomalies() -> None:
    client, ledger = client_of(StaleDoor())
    for _ in range(100):
        client.act()
    told = "\n".join(problems(ledger, {"s0": Contents({}, {})}, lambda account: "s0"))
    for what in (
        r"anomaly: stale did not read its own entry",
        r"anomaly: account 1 went back from",
        r"removed 0 rows of its entry",
    ):
        assert what in told or what in "\n".join(ledger.anomalies)


def test_an_account_that_is_not_read_is_an_anomaly() -> None:
    door = StaleDoor()
    door.seen = None
    client, ledger = client_of(door)
    for _ in range(20):
        client.act()
    assert any(anomaly.startswith("stale read no account") for anomaly in ledger.anomalies)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (psycopg.OperationalError("the connection is lost"), DOUBT),
        (psycopg.errors.AdminShutdown(), DOUBT),
        (psycopg.errors.ConnectionFailure(), DOUBT),
        (psycopg.errors.SerializationFailure(), REFUSED),
        (psycopg.errors.SqlclientUnableToEstablishSqlconnection(), REFUSED),
    ],
)
def test_a_failed_statement_is_noted(error: Exception, outcome: Outcome) -> None:
    assert is_in_doubt(error) is (outcome is DOUBT)
    door = StaleDoor()
    door.error = error
    client, ledger = client_of(door)
    while not ledger.failures:
        client.act()
    assert ledger.writes[-1].outcome is outcome
    assert ledger.failures[0].sqlstate == error.sqlstate  # type: ignore[attr-defined]
    assert ledger.failures[0].door == "stale"
