"""One transaction over two shards: all of it or nothing, and no more ceremony than needed."""

import threading

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from shardrouter import AsyncRouter, Router
from shardrouter.errors import (
    RoutingError,
    ShardKeyInvalid,
    ShardKeyMissing,
    ShardSwapError,
    TransactionAborted,
    WrongShardKey,
)
from tests.support.cluster import Cluster
from tests.support.eventually import eventually
from tests.support.transfers import Account, Ledger, Transfer, balance, create_tables, transfer

Accounts = tuple[int, int, int, int]


def test_two_shards_commit_together(router: Router, accounts: Accounts, ledger: Ledger) -> None:
    a, _, b, _ = accounts
    tx = transfer(router, 1, a, b, 30)
    assert (balance(router, a), balance(router, b)) == (70, 130)
    assert ledger.journal() == [("commit", True, None)]
    assert ledger.journal("id") == [(tx.id,)]
    assert tx.pending == ()
    assert ledger.prepared() == []
    assert ledger.markers() == 2


def test_an_error_rolls_everything_back(router: Router, accounts: Accounts, ledger: Ledger) -> None:
    a, _, b, _ = accounts
    with pytest.raises(ZeroDivisionError), router.transaction(keys=[a, b]) as tx:
        for key in (a, b):
            tx[key].execute(update(Account).values(balance=0))
        raise ZeroDivisionError
    assert ledger.total() == 400
    assert ledger.journal() == []
    assert ledger.prepared() == []


def test_one_shard_commits_plainly(router: Router, accounts: Accounts, ledger: Ledger) -> None:
    first, second, _, _ = accounts
    tx = transfer(router, 1, first, second, 5)
    assert (balance(router, first), balance(router, second)) == (95, 105)
    assert tx.id is None
    assert ledger.journal() == []


def test_a_shard_that_is_only_read_does_not_vote(
    router: Router, accounts: Accounts, ledger: Ledger
) -> None:
    a, _, b, _ = accounts
    with router.transaction(keys=[a, b]) as tx:
        seen = tx[b].scalars(select(Account.balance).where(Account.id == b)).one()
        tx[a].execute(update(Account).where(Account.id == a).values(balance=seen + 1))
    assert balance(router, a) == 101
    assert tx.id is None
    assert ledger.journal() == []


def test_nothing_used_is_nothing_done(router: Router, accounts: Accounts, ledger: Ledger) -> None:
    with router.transaction(keys=[accounts[0], accounts[2]]):
        pass
    assert ledger.journal() == []


def test_keys_of_one_shard_share_a_transaction_but_not_their_slot(
    router: Router, accounts: Accounts
) -> None:
    first, second, _, _ = accounts
    with pytest.raises(WrongShardKey), router.transaction(keys=[first, second]) as tx:
        tx[first].execute(update(Account).where(Account.id == first).values(balance=1))
        seen = tx[second].scalars(select(Account.balance).where(Account.id == first)).one()
        assert seen == 1
        tx[second].add(Transfer(id=1, account_id=first, amount=1))
        tx[second].flush()
    assert balance(router, first) == 100


def test_keys_must_be_named(router: Router, accounts: Accounts) -> None:
    with router.transaction(keys=[accounts[0]]) as tx, pytest.raises(ShardKeyMissing, match="keys"):
        tx[accounts[1]]
    with pytest.raises(ShardKeyMissing):
        router.transaction()
    with pytest.raises(ShardKeyInvalid, match="list of keys"):
        router.transaction(keys="ab")
    with pytest.raises(ShardKeyInvalid):
        router.transaction(keys=[1.5])
    with pytest.raises(ShardSwapError), router.pin():
        router.transaction(keys=list(accounts[:2]))


def test_a_session_cannot_commit_on_its_own(router: Router, accounts: Accounts) -> None:
    a, _, b, _ = accounts
    with router.transaction(keys=[a, b]) as tx:
        with pytest.raises(RoutingError, match="does not commit"):
            tx[a].commit()
    with pytest.raises(RoutingError, match="over"):
        tx[a].execute(text("SELECT 1"))


def test_half_of_it_rolled_back_is_all_of_it(
    router: Router, accounts: Accounts, ledger: Ledger
) -> None:
    a, _, b, _ = accounts
    with pytest.raises(TransactionAborted, match="rolled back"):
        with router.transaction(keys=[a, b]) as tx:
            tx[a].execute(update(Account).where(Account.id == a).values(balance=0))
            tx[a].rollback()
            tx[b].execute(update(Account).where(Account.id == b).values(balance=200))
    assert ledger.total() == 400


def test_an_error_passed_over_is_not_committed(
    router: Router, accounts: Accounts, ledger: Ledger
) -> None:
    a, _, b, _ = accounts
    with pytest.raises(TransactionAborted):
        with router.transaction(keys=[a, b]) as tx:
            tx[b].execute(update(Account).where(Account.id == b).values(balance=200))
            with pytest.raises(IntegrityError):
                tx[a].execute(update(Account).where(Account.id == a).values(balance=-1))
    assert ledger.total() == 400


def test_savepoints_guard_single_statements(router: Router, accounts: Accounts) -> None:
    a, _, b, _ = accounts
    with router.transaction(keys=[a, b]) as tx:
        with pytest.raises(IntegrityError), tx[a].begin_nested():
            tx[a].execute(update(Account).where(Account.id == a).values(balance=-1))
        tx[a].execute(update(Account).where(Account.id == a).values(balance=50))
        tx[b].execute(update(Account).where(Account.id == b).values(balance=150))
    assert (balance(router, a), balance(router, b)) == (50, 150)


def test_a_constraint_checked_at_prepare(
    router: Router, accounts: Accounts, ledger: Ledger
) -> None:
    a, _, b, _ = accounts
    with pytest.raises(IntegrityError, match="account_country_fkey"):
        with router.transaction(keys=[a, b]) as tx:
            tx[a].execute(update(Account).where(Account.id == a).values(balance=0))
            tx[b].execute(update(Account).where(Account.id == b).values(country="nowhere"))
    assert ledger.total() == 400
    assert ledger.prepared() == []
    assert ledger.journal() == [("abort", True, None)]


def test_what_cannot_be_prepared_is_refused_by_postgres(
    router: Router, accounts: Accounts, ledger: Ledger
) -> None:
    a, _, b, _ = accounts
    with pytest.raises(DBAPIError, match="temporary objects"):
        with router.transaction(keys=[a, b]) as tx:
            tx[a].execute(update(Account).where(Account.id == a).values(balance=0))
            tx[b].execute(text("CREATE TEMP TABLE scratch (x int)"))
            tx[b].execute(update(Account).where(Account.id == b).values(balance=200))
    assert ledger.total() == 400
    assert ledger.prepared() == []


def test_replicas_show_it_on_both_shards(
    router: Router, accounts: Accounts, cluster: Cluster
) -> None:
    a, _, b, _ = accounts
    for n in range(20):
        transfer(router, n, a, b)
        for key, expected in ((a, 99 - n), (b, 101 + n)):
            with router.session(key=key, read="replica") as session:
                query = select(Account.balance).where(Account.id == key)
                assert session.scalars(query).one() == expected


def test_a_deadlock_over_two_shards_ends(cluster: Cluster, accounts: Accounts) -> None:
    a, _, b, _ = accounts
    with cluster.settings_path.open("a") as settings:
        settings.write("[transaction]\nlock_timeout_ms = 300\n")
    met = threading.Barrier(2, timeout=10)
    outcomes: list[str] = []
    with Router.from_config(cluster.settings_path) as router:

        def cross(first: int, second: int) -> None:
            try:
                with router.transaction(keys=[a, b]) as tx:
                    touch = update(Account).values(balance=Account.balance)
                    tx[first].execute(touch.where(Account.id == first))
                    met.wait()
                    tx[second].execute(touch.where(Account.id == second))
                outcomes.append("committed")
            except OperationalError as error:
                outcomes.append(str(error.orig.sqlstate))  # type: ignore[union-attr]

        threads = [threading.Thread(target=cross, args=pair) for pair in ((a, b), (b, a))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert sorted(outcomes) in (["55P03", "committed"], ["55P03", "55P03"])


def test_a_transaction_open_for_too_long_is_not_committed(
    cluster: Cluster, accounts: Accounts, ledger: Ledger
) -> None:
    a, _, b, _ = accounts
    with cluster.settings_path.open("a") as settings:
        settings.write("[transaction]\ntimeout_seconds = 0.1\n")
    with Router.from_config(cluster.settings_path) as router:
        with pytest.raises(TransactionAborted, match=r"more than 0\.1 s"):
            with router.transaction(keys=[a, b]) as tx:
                tx[a].execute(update(Account).where(Account.id == a).values(balance=0))
                threading.Event().wait(0.15)
    assert ledger.total() == 400


def test_objects_expire_and_events_fire_once(router: Router, accounts: Accounts) -> None:
    a, _, b, _ = accounts
    with router.transaction(keys=[a, b], expire_on_commit=False) as tx:
        first, second = tx[a].get_one(Account, a), tx[b].get_one(Account, b)
        first.balance, second.balance = 60, 140
    assert (first.balance, second.balance) == (60, 140)
    assert (balance(router, a), balance(router, b)) == (60, 140)


async def test_the_async_twin(cluster: Cluster, ledger: Ledger) -> None:
    create_tables(cluster)
    async with AsyncRouter.from_config(cluster.settings_path) as router:
        with router.causal():
            a = next(k for k in range(1, 99) if router.shard_of(k).id == "s0")
            b = next(k for k in range(1, 99) if router.shard_of(k).id == "s1")
            async with router.transaction(keys=[a, b]) as tx:
                tx[a].add(Account(id=a, balance=1))
                tx[b].add(Account(id=b, balance=2))
            assert tx.id is not None
            for key in (a, b):
                async with router.session(key=key, read="replica") as session:
                    assert await session.get(Account, key) is not None
            with pytest.raises(ZeroDivisionError):
                async with router.transaction(keys=[a, b]) as tx:
                    await tx[a].execute(update(Account).values(balance=5))
                    raise ZeroDivisionError
    assert ledger.total() == 3
    assert ledger.journal() == [("commit", True, None)]
    eventually(lambda: ledger.prepared() == [])
