"""The connection to one shard is cut at a statement, before or after the server has done it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import text

from shardrouter import Router
from shardrouter.catalog import CatalogStore, TransactionJournal, catalog_engine
from shardrouter.control.in_doubt import resolve_once
from shardrouter.errors import CommitInDoubt, TransactionAborted
from shardrouter.topology import Epoch, NodeId, ShardId
from tests.support.cluster import Cluster
from tests.support.cutting_relay import CuttingRelay
from tests.support.transfers import Ledger, balance, transfer

Accounts = tuple[int, int, int, int]


@contextmanager
def relayed(cluster: Cluster, word: str, *, delivered: bool) -> Iterator[Router]:
    """A router that reaches s1 through a relay, which cuts at the word once."""
    options = conninfo_to_dict(cluster.dsn("s1-p"))
    relay = CuttingRelay(
        int(str(options["port"])), word.encode(), delivered=delivered, stays_down=False
    )
    dsn = make_conninfo(cluster.dsn("s1-p"), host="127.0.0.1", port=relay.port)
    engine = catalog_engine(cluster.catalog_dsn)
    store = CatalogStore(engine)
    topology = store.load()
    s1 = topology.shard("s1")
    nodes = tuple(replace(n, dsn=dsn) if n.id == NodeId("s1-p") else n for n in s1.nodes)
    shards = tuple(replace(s, nodes=nodes) if s.id == "s1" else s for s in topology.shards)
    store.publish(
        topology.next(shards=shards), expected=Epoch(topology.epoch), actor="test", reason="relay"
    )
    engine.dispose()
    try:
        with Router.from_config(cluster.settings_path) as router, router.causal():
            yield router
            assert relay.has_cut
    finally:
        relay.close()


def resolve(router: Router) -> None:
    background = router._core.background
    journal = TransactionJournal(background.catalog)
    resolve_once(journal, background.connect_primary, 0.0, [ShardId("s0"), ShardId("s1")])


@pytest.mark.parametrize("delivered", [False, True])
def test_at_prepare(delivered: bool, cluster: Cluster, accounts: Accounts, ledger: Ledger) -> None:
    a, _, b, _ = accounts
    with relayed(cluster, "PREPARE TRANSACTION", delivered=delivered) as router:
        with pytest.raises(TransactionAborted, match="shard was lost"):
            transfer(router, 1, a, b)
        resolve(router)
    assert ledger.prepared() == []
    assert ledger.transfers() == {}
    assert ledger.journal() == [("abort", True, None)]


@pytest.mark.parametrize("delivered", [False, True])
def test_at_commit_prepared(
    delivered: bool, cluster: Cluster, accounts: Accounts, ledger: Ledger
) -> None:
    """Done once more on another connection; the read after it sees the result."""
    a, _, b, _ = accounts
    with relayed(cluster, "COMMIT PREPARED", delivered=delivered) as router:
        tx = transfer(router, 1, a, b)
        assert tx.pending == ()
        with router.session(key=b, read="replica") as session:
            query = text("SELECT balance FROM account WHERE id = :id")
            assert session.execute(query, {"id": b}).scalar_one() == 101
    assert ledger.journal() == [("commit", True, None)]


@pytest.mark.parametrize("delivered", [False, True])
def test_at_the_plain_commit_of_the_only_writer(
    delivered: bool, cluster: Cluster, accounts: Accounts
) -> None:
    """The shard is asked what became of it, so the answer is never a guess."""
    a, _, b, _ = accounts
    with relayed(cluster, "COMMIT;", delivered=delivered) as router:

        def write() -> None:
            with router.transaction(keys=[a, b]) as tx:
                tx[a].execute(text("SELECT 1"))
                tx[b].execute(text("UPDATE account SET balance = 7 WHERE id = :id"), {"id": b})

        if delivered:
            write()
            with router.session(key=b, read="replica") as session:
                query = text("SELECT balance FROM account WHERE id = :id")
                assert session.execute(query, {"id": b}).scalar_one() == 7
        else:
            with pytest.raises(TransactionAborted):
                write()
        assert balance(router, b) == (7 if delivered else 100)


def test_at_the_plain_commit_of_the_only_shard(cluster: Cluster, accounts: Accounts) -> None:
    _, _, b, _ = accounts
    with relayed(cluster, "COMMIT;", delivered=True) as router:
        with pytest.raises(CommitInDoubt, match="shard s1"):
            with router.transaction(keys=[b]) as tx:
                tx[b].execute(text("UPDATE account SET balance = 7 WHERE id = :id"), {"id": b})
