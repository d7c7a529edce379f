"""Shards that die, fail over or cannot prepare, while a transaction over two of them commits."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shardrouter import Router
from shardrouter.catalog import TransactionJournal, catalog_engine, found_fleet
from shardrouter.control.in_doubt import resolve_once
from shardrouter.errors import BackendUnreachable, SettingsError
from shardrouter.local import LocalFleet
from shardrouter.topology import ShardId
from tests.support.eventually import eventually
from tests.support.transfers import CREATE_TABLES, balance, fund, keys_of, transfer, with_steps

SHARDS = [ShardId("s0"), ShardId("s1")]
PREPARED = "SELECT count(*) FROM pg_prepared_xacts"


@pytest.fixture
def fleet(private_fleet: Callable[..., LocalFleet]) -> LocalFleet:
    fleet = private_fleet(2, 1)
    engine = catalog_engine(fleet.catalog.dsn())
    found_fleet(engine, fleet.topology(), actor="tests")
    engine.dispose()
    for node in ("s0-p", "s1-p"):
        with fleet.node(node).connect() as connection:
            connection.execute(CREATE_TABLES)
    return fleet


@pytest.fixture
def router(fleet: LocalFleet, tmp_path: Path) -> Iterator[Router]:
    settings = tmp_path / "shardrouter.toml"
    settings.write_text(f'[catalog]\ndsn = "{fleet.catalog.dsn()}"\n')
    with Router.from_config(settings) as opened, opened.causal():
        yield opened


@pytest.fixture
def accounts(router: Router) -> tuple[int, int]:
    [a], [b] = keys_of(router, "s0", 1), keys_of(router, "s1", 1)
    fund(router, [a, b])
    return a, b


def resolve(router: Router) -> Any:
    background = router._core.background
    journal = TransactionJournal(background.catalog)
    return resolve_once(journal, background.connect_primary, 0.0, sweep=SHARDS)


def when_decided(work: Callable[[], object]) -> Callable[[str], None]:
    def step(reached: str) -> None:
        if reached == "decided":
            work()

    return step


def prepared_on(fleet: LocalFleet, node: str) -> int:
    with fleet.node(node).connect() as connection:
        row = connection.execute(PREPARED).fetchone()
    assert row is not None
    return int(row[0])


def test_a_primary_killed_between_decision_and_commit_comes_back(
    fleet: LocalFleet, router: Router, accounts: tuple[int, int]
) -> None:
    a, b = accounts
    with_steps(router, when_decided(fleet.node("s1-p").kill))
    assert transfer(router, 1, a, b).pending == ("s1",)
    assert balance(router, a) == 99
    with pytest.raises(BackendUnreachable):
        balance(router, b)
    fleet.node("s1-p").start()
    assert prepared_on(fleet, "s1-p") == 1, "a prepared transaction survives a crash"
    eventually(lambda: resolve(router) or prepared_on(fleet, "s1-p") == 0)
    assert balance(router, b) == 101


def test_a_failover_between_decision_and_commit(
    fleet: LocalFleet, router: Router, accounts: tuple[int, int]
) -> None:
    a, b = accounts
    replica = fleet.node("s1-r1")

    def fail_over() -> None:
        with fleet.node("s1-p").connect() as primary:
            row = primary.execute("SELECT pg_current_wal_lsn()").fetchone()
            assert row is not None
        query = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
        with replica.connect() as connection:
            eventually(lambda: connection.execute(query, row).fetchone() == (True,))
            fleet.node("s1-p").kill()
            connection.execute("SELECT pg_promote()")

    with_steps(router, when_decided(fail_over))
    transfer(router, 1, a, b)

    def is_settled() -> bool:
        resolve(router)
        return prepared_on(fleet, "s1-r1") == 0

    eventually(is_settled)
    with replica.connect() as connection:
        query = "SELECT balance FROM account WHERE id = %s"
        assert connection.execute(query, [b]).fetchone() == (101,)


def test_a_shard_that_cannot_prepare_is_named_before_anything_is_prepared(
    fleet: LocalFleet, router: Router, accounts: tuple[int, int]
) -> None:
    a, b = accounts
    with fleet.node("s1-p").connect() as connection:
        connection.execute("ALTER SYSTEM SET max_prepared_transactions = 0")
    fleet.node("s1-p").stop()
    fleet.node("s1-p").start()
    eventually(lambda: balance(router, b) == 100)
    with pytest.raises(SettingsError, match=r"max_prepared_transactions is 0 \[shard s1\]"):
        transfer(router, 1, a, b)
    assert (balance(router, a), balance(router, b)) == (100, 100)
    with router.transaction(keys=[a, b]) as tx:  # one writer needs no prepared transaction
        tx[a].connection().exec_driver_sql("UPDATE account SET balance = 5")
        tx[b].connection().exec_driver_sql("SELECT 1")
    assert balance(router, a) == 5
