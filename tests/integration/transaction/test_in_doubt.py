"""What goes wrong between PREPARE and the last COMMIT PREPARED; what the resolver makes of it."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from uuid import uuid4

import pytest
from psycopg import sql
from sqlalchemy import text

from shardrouter import Router
from shardrouter.catalog import TransactionJournal
from shardrouter.client.causal import current_scope
from shardrouter.control.in_doubt import Resolution, clean_once, resolve_once
from shardrouter.errors import (
    BackendUnreachable,
    CatalogUnavailable,
    CommitInDoubt,
    TransactionAborted,
)
from shardrouter.topology import ShardId
from shardrouter.topology.transaction import Decision, Gid, TransactionState
from tests.support.cluster import Cluster
from tests.support.eventually import eventually
from tests.support.transfers import Ledger, balance, transfer, with_steps

Accounts = tuple[int, int, int, int]
SHARDS = [ShardId("s0"), ShardId("s1")]


class Crash(BaseException):
    """Ends a commit on the spot, as far as one process can do that to itself."""


@pytest.fixture
def router(router: Router) -> Router:
    """A router whose own resolver does not come between."""
    assert router._core.settings.transaction.resolve_every_seconds >= 5
    return router


@pytest.fixture
def journal(router: Router) -> TransactionJournal:
    return TransactionJournal(router._core.background.catalog)


@pytest.fixture
def resolve(router: Router, journal: TransactionJournal) -> Callable[[], list[Resolution]]:
    """One pass that finds everybody dead and searches every shard."""
    connect = router._core.background.connect_primary
    return lambda: resolve_once(journal, connect, 0.0, sweep=SHARDS)


def at(name: str, work: Callable[[], object]) -> Callable[[str], None]:
    def step(reached: str) -> None:
        if reached == name:
            work()

    return step


def crash() -> None:
    raise Crash


@contextmanager
def closed(cluster: Cluster, node: str) -> Iterator[None]:
    """Let nobody into the test's database on a node, and throw out who is in."""
    server = cluster.fleet.catalog if node == "catalog" else cluster.fleet.node(node)
    name = cluster.catalog_database if node == "catalog" else cluster.database
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"
    with server.connect("postgres") as connection:
        connection.execute(allow.format(sql.Identifier(name), sql.SQL("false")))
        connection.execute(end, [name])
        try:
            yield
        finally:
            connection.execute(allow.format(sql.Identifier(name), sql.SQL("true")))


def settle_by_hand(cluster: Cluster, verb: str, node: str = "s1-p") -> None:
    with cluster.connect(node) as connection:
        row = connection.execute(
            "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
        ).fetchone()
        assert row is not None
        connection.execute(sql.SQL("{} PREPARED {}").format(sql.SQL(verb), sql.Literal(row[0])))


# A process that ends somewhere, and the resolver after it


@pytest.mark.parametrize(
    ("step", "state", "moved"),
    [
        ("begun", TransactionState.ABORTED, 0),
        ("prepared s0", TransactionState.ABORTED, 0),
        ("all prepared", TransactionState.ABORTED, 0),
        ("decided", TransactionState.COMMITTED, 10),
    ],
)
def test_the_resolver_finishes_what_a_crash_left(
    step: str, state: TransactionState, moved: int, router: Router, accounts: Accounts,
    ledger: Ledger, resolve: Callable[[], list[Resolution]],
) -> None:  # fmt: skip
    a, _, b, _ = accounts
    with_steps(router, at(step, crash))
    with pytest.raises(Crash) as told:
        transfer(router, 1, a, b, 10)
    assert "txn list" in told.value.__notes__[0]
    assert [r.state for r in resolve()] == [state]
    assert (balance(router, a), balance(router, b)) == (100 - moved, 100 + moved)
    assert ledger.prepared() == []
    assert ledger.journal() == [("commit" if moved else "abort", True, None)]
    assert resolve() == []


def test_the_resolver_leaves_the_living_alone(
    router: Router, accounts: Accounts, ledger: Ledger, journal: TransactionJournal
) -> None:
    seen: list[Resolution] = []

    def look() -> None:
        connect = router._core.background.connect_primary
        seen.extend(resolve_once(journal, connect, 10.0, sweep=SHARDS))

    for step in ("begun", "prepared s0", "all prepared", "decided"):
        with_steps(router, at(step, look))
        transfer(router, hash(step) % 1000, accounts[0], accounts[2])
    assert seen == []
    assert ledger.journal() == [("commit", True, None)] * 4


def test_presumed_dead_before_it_decided(
    router: Router, accounts: Accounts, ledger: Ledger, resolve: Callable[[], list[Resolution]]
) -> None:
    for number, step in enumerate(("begun", "prepared s0", "all prepared")):
        with_steps(router, at(step, resolve))
        with pytest.raises(TransactionAborted, match="presumed dead"):
            transfer(router, number, accounts[0], accounts[2])
        resolve()
        assert ledger.prepared() == []
    assert ledger.transfers() == {}
    assert ledger.journal() == [("abort", True, None)] * 3


def test_the_resolver_commits_first(
    router: Router, accounts: Accounts, ledger: Ledger, resolve: Callable[[], list[Resolution]]
) -> None:
    a, _, b, _ = accounts
    with_steps(router, at("decided", resolve))
    tx = transfer(router, 1, a, b)
    assert tx.pending == ()
    assert (balance(router, a), balance(router, b)) == (99, 101)
    assert ledger.journal() == [("commit", True, None)]


def test_a_race_for_the_decision_has_one_winner(
    router: Router, accounts: Accounts, ledger: Ledger, resolve: Callable[[], list[Resolution]]
) -> None:
    """A resolver that finds everybody dead at once runs all the time beside the transfers."""
    is_over = threading.Event()

    def keep_resolving() -> None:
        while not is_over.is_set():
            resolve()

    committed: set[int] = set()
    aborted, rng = 0, random.Random(5)
    with_steps(router, at("all prepared", lambda: time.sleep(rng.choice([0, 0.01, 0.05]))))
    pairs = [(accounts[0], accounts[2]), (accounts[1], accounts[3])]
    is_back = [False, False]  # after a transfer the money goes back: no balance runs out
    rivals = [threading.Thread(target=keep_resolving) for _ in range(2)]
    for rival in rivals:
        rival.start()
    try:
        for number in range(400):
            if len(committed) > 15 and aborted > 15:
                break
            try:
                pair = number % 2
                transfer(router, number, *sorted(pairs[pair], reverse=is_back[pair]))
                is_back[pair] = not is_back[pair]
                committed.add(number)
            except TransactionAborted:
                aborted += 1
    finally:
        is_over.set()
        for rival in rivals:
            rival.join(30)
    resolve()
    assert committed and aborted, f"{len(committed)} committed, {aborted} aborted: no race"
    assert ledger.transfers().keys() == committed
    assert all(len(halves) == 2 for halves in ledger.transfers().values())
    assert ledger.total() == 400
    assert ledger.prepared() == []
    assert all(finished and damage is None for _, finished, damage in ledger.journal())


def test_two_resolvers_at_once(
    router: Router, accounts: Accounts, ledger: Ledger, resolve: Callable[[], list[Resolution]]
) -> None:
    a, second, b, fourth = accounts
    for number, (source, target) in enumerate([(a, b), (second, fourth)]):
        with_steps(router, at("decided" if number else "all prepared", crash))
        with pytest.raises(Crash):
            transfer(router, number, source, target, 10)
    with ThreadPoolExecutor(4) as pool:
        passes = [pool.submit(resolve) for _ in range(4)]
        for one in passes:
            one.result(30)
    resolve()
    assert ledger.transfers().keys() == {1}
    assert ledger.prepared() == []
    assert ledger.journal() == [("abort", True, None), ("commit", True, None)]


# Something is down


def test_a_shard_that_goes_down_after_the_decision(
    router: Router, accounts: Accounts, cluster: Cluster, ledger: Ledger,
    resolve: Callable[[], list[Resolution]],
) -> None:  # fmt: skip
    a, _, b, _ = accounts
    outage = closed(cluster, "s1-p")
    with_steps(router, at("decided", outage.__enter__))
    try:
        tx = transfer(router, 1, a, b)
        assert tx.pending == ("s1",)
        [resolution] = resolve()
        assert resolution.state is TransactionState.COMMITTING
        assert "s1" in resolution.branches
        with pytest.raises(BackendUnreachable), router.session(key=b, read="replica") as session:
            session.execute(text("SELECT 1"))
    finally:
        outage.__exit__(None, None, None)
    assert balance(router, a) == 99
    [resolution] = resolve()
    assert resolution.state is TransactionState.COMMITTED
    assert balance(router, b) == 101
    assert ledger.journal() == [("commit", True, None)]


def test_a_shard_that_goes_down_before_its_prepare(
    router: Router, accounts: Accounts, cluster: Cluster, ledger: Ledger,
    resolve: Callable[[], list[Resolution]],
) -> None:  # fmt: skip
    outage = closed(cluster, "s1-p")
    with_steps(router, at("prepared s0", outage.__enter__))
    try:
        with pytest.raises(TransactionAborted, match="shard was lost"):
            transfer(router, 1, accounts[0], accounts[2])
    finally:
        outage.__exit__(None, None, None)
    resolve()
    assert ledger.transfers() == {}
    assert ledger.prepared() == []
    assert ledger.journal() == [("abort", True, None)]


def test_a_catalog_that_is_down_before_anything_is_prepared(
    router: Router, accounts: Accounts, cluster: Cluster, ledger: Ledger
) -> None:
    transfer(router, 1, accounts[0], accounts[2])
    with closed(cluster, "catalog"), pytest.raises(CatalogUnavailable):
        transfer(router, 2, accounts[0], accounts[2])
    assert ledger.transfers().keys() == {1}
    assert ledger.prepared() == []


def test_a_catalog_that_goes_down_before_the_decision(
    router: Router, accounts: Accounts, cluster: Cluster, ledger: Ledger,
    resolve: Callable[[], list[Resolution]],
) -> None:  # fmt: skip
    outage = closed(cluster, "catalog")
    with_steps(router, at("all prepared", outage.__enter__), decide_within_seconds=0.3)
    try:
        with pytest.raises(CommitInDoubt, match=r"while transaction .* was decided") as told:
            transfer(router, 1, accounts[0], accounts[2])
        assert "txn resolve" in str(told.value.hint)
        assert len(ledger.prepared()) == 2
    finally:
        outage.__exit__(None, None, None)
    assert [r.state for r in resolve()] == [TransactionState.ABORTED]
    assert ledger.transfers() == {}
    assert ledger.prepared() == []


def test_a_catalog_that_comes_back_in_time(
    router: Router, accounts: Accounts, cluster: Cluster, ledger: Ledger
) -> None:
    outage = closed(cluster, "catalog")

    def blink() -> None:
        outage.__enter__()
        threading.Timer(0.5, outage.__exit__, (None, None, None)).start()

    with_steps(router, at("all prepared", blink))
    transfer(router, 1, accounts[0], accounts[2])
    assert ledger.transfers().keys() == {1}
    assert ledger.journal() == [("commit", True, None)]


@pytest.mark.parametrize("read", ["replica", "primary", None])
def test_a_context_sees_its_commit_as_soon_as_the_shard_is_back(
    read: str | None, router: Router, accounts: Accounts, cluster: Cluster
) -> None:
    """Without waiting for the resolver: a read of the shard finishes the commit first."""
    a, _, b, _ = accounts
    outage = closed(cluster, "s1-p")
    with_steps(router, at("decided", outage.__enter__))
    try:
        assert transfer(router, 1, a, b).pending == ("s1",)
    finally:
        outage.__exit__(None, None, None)
    with router.session(key=b, read=read) as session:
        query = text("SELECT balance FROM account WHERE id = :id")
        assert session.execute(query, {"id": b}).scalar_one() == 101
    assert current_scope().pending == {}


# "Not found" is never taken for committed


def test_not_found_with_a_marker_is_committed(
    router: Router, accounts: Accounts, cluster: Cluster, ledger: Ledger
) -> None:
    with_steps(router, at("decided", lambda: settle_by_hand(cluster, "COMMIT")))
    assert transfer(router, 1, accounts[0], accounts[2]).pending == ()
    assert ledger.journal() == [("commit", True, None)]


def test_not_found_without_a_marker_is_damage(
    router: Router, accounts: Accounts, cluster: Cluster, ledger: Ledger,
    resolve: Callable[[], list[Resolution]],
) -> None:  # fmt: skip
    with_steps(router, at("decided", lambda: settle_by_hand(cluster, "ROLLBACK")))
    with pytest.raises(CommitInDoubt, match="its part on s1 is gone") as told:
        transfer(router, 1, accounts[0], accounts[2])
    assert f":{ledger.journal('id')[0][0]}:s1" in told.value.message
    assert told.value.shard == "s1"
    [(decision, is_finished, damage)] = ledger.journal()
    assert (decision, is_finished) == ("commit", False)
    assert damage == "decided to commit, but neither prepared nor committed on s1"
    assert resolve() == [], "nothing more can be done by itself"


def test_the_resolver_finds_damage(
    router: Router, accounts: Accounts, cluster: Cluster, ledger: Ledger,
    resolve: Callable[[], list[Resolution]],
) -> None:  # fmt: skip
    with_steps(router, at("decided", crash))
    with pytest.raises(Crash):
        transfer(router, 1, accounts[0], accounts[2])
    settle_by_hand(cluster, "ROLLBACK")
    [resolution] = resolve()
    assert resolution.state is TransactionState.DAMAGED
    assert resolution.branches == {"s0": "done", "s1": "lost"}
    assert resolution.detail == "decided to commit, but neither prepared nor committed on s1"


def test_a_decision_that_the_catalog_lost_is_proved_by_a_shard(
    router: Router, accounts: Accounts, cluster: Cluster, ledger: Ledger,
    resolve: Callable[[], list[Resolution]],
) -> None:  # fmt: skip
    """As after a failover of the catalog to a replica that was behind."""
    with_steps(router, at("all prepared", crash))
    with pytest.raises(Crash):
        transfer(router, 1, accounts[0], accounts[2])
    settle_by_hand(cluster, "COMMIT")
    assert [r.state for r in resolve()] == [TransactionState.COMMITTED]
    assert len(ledger.transfers()[1]) == 2
    assert ledger.journal() == [("commit", True, None)]


def test_committed_by_hand_against_the_decision(
    router: Router, accounts: Accounts, cluster: Cluster, journal: TransactionJournal,
    ledger: Ledger, resolve: Callable[[], list[Resolution]],
) -> None:  # fmt: skip
    with_steps(router, at("all prepared", crash))
    with pytest.raises(Crash):
        transfer(router, 1, accounts[0], accounts[2])
    journal.decide(ledger.journal("id")[0][0], Decision.ABORT, "test")
    settle_by_hand(cluster, "COMMIT")
    [resolution] = resolve()
    assert resolution.state is TransactionState.DAMAGED
    assert resolution.detail == "decided to abort, but committed by somebody else on s1"


# What is not ours, or not known


def test_other_peoples_prepared_transactions_are_never_touched(
    router: Router, accounts: Accounts, cluster: Cluster, ledger: Ledger,
    journal: TransactionJournal, resolve: Callable[[], list[Resolution]],
) -> None:  # fmt: skip
    ours = journal.fleet()
    foreign = [
        "somebody's",
        str(Gid(str(uuid4()), uuid4(), ShardId("s0"))),
        f"shardrouter:{ours}:{uuid4()}:s0:more",
        f"shardrouter:{ours}:{str(uuid4()).upper()}:s0",
    ]
    with cluster.connect("s0-p") as connection:
        for gid in foreign:
            connection.execute("BEGIN")
            connection.execute("INSERT INTO country VALUES (%s, 'x')", [gid])
            connection.execute(sql.SQL("PREPARE TRANSACTION {}").format(sql.Literal(gid)))
    assert resolve() == []
    assert sorted(ledger.prepared()) == sorted(foreign)


def test_a_transaction_the_journal_forgot_is_told_and_left(
    router: Router, accounts: Accounts, cluster: Cluster, ledger: Ledger,
    journal: TransactionJournal, resolve: Callable[[], list[Resolution]],
) -> None:  # fmt: skip
    with_steps(router, at("all prepared", crash))
    with pytest.raises(Crash):
        transfer(router, 1, accounts[0], accounts[2])
    with cluster.fleet.catalog.connect(cluster.catalog_database) as connection:
        connection.execute("DELETE FROM shardrouter.transaction_journal")
    [resolution] = resolve()
    assert resolution.state is TransactionState.UNKNOWN
    assert set(resolution.gids) == {"s0", "s1"}
    assert len(ledger.prepared()) == 2
    assert journal.decide(resolution.transaction, Decision.COMMIT, "a zombie") is None


def test_a_branch_that_appears_after_the_end_is_settled(
    router: Router, accounts: Accounts, cluster: Cluster, ledger: Ledger,
    journal: TransactionJournal, resolve: Callable[[], list[Resolution]],
) -> None:  # fmt: skip
    """A frozen process prepares after it was presumed dead, and dies then."""
    transaction, shard = uuid4(), ShardId("s0")
    gid = str(Gid(journal.fleet(), transaction, shard))
    journal.begin(transaction, {shard: gid}, "frozen")
    assert [r.state for r in resolve()] == [TransactionState.ABORTED]
    with cluster.connect("s0-p") as connection:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO country VALUES ('XX', 'x')")
        connection.execute(sql.SQL("PREPARE TRANSACTION {}").format(sql.Literal(gid)))
    assert [r.state for r in resolve()] == [TransactionState.ABORTED]
    assert ledger.prepared() == []


def test_finished_transactions_are_forgotten_with_their_markers(
    router: Router, accounts: Accounts, ledger: Ledger, journal: TransactionJournal
) -> None:
    for number in range(3):
        transfer(router, number, accounts[0], accounts[2])
    connect = router._core.background.connect_primary
    assert clean_once(journal, connect, keep_seconds=60) == 0
    assert ledger.markers() == 6
    assert clean_once(journal, connect, keep_seconds=0) == 3
    assert ledger.markers() == 0
    assert ledger.journal() == []


def test_the_routers_own_resolver_runs_by_itself(
    cluster: Cluster, accounts: Accounts, ledger: Ledger
) -> None:
    with cluster.settings_path.open("a") as settings:
        settings.write(
            "[transaction]\nresolve_every_seconds = 0.1\npresume_abort_after_seconds = 0.5\n"
        )
    with Router.from_config(cluster.settings_path) as router:
        with_steps(router, at("all prepared", crash))
        with pytest.raises(Crash):
            transfer(router, 1, accounts[0], accounts[2])
        assert len(ledger.prepared()) == 2
        eventually(lambda: ledger.prepared() == [])
    assert ledger.transfers() == {}
