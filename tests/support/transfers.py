"""Accounts sharded by id, countries everywhere: what the transaction tests write."""

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import BigInteger, ForeignKey, Text, text, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shardrouter import AsyncRouter, Router
from shardrouter.catalog import TransactionJournal
from shardrouter.client import reference, sharded
from shardrouter.client.transactions.commit import Committer
from shardrouter.client.transactions.two_phase import TwoPhaseCommit
from tests.support.cluster import Cluster

CREATE_TABLES: Final = """
CREATE TABLE country (code text PRIMARY KEY, name text NOT NULL, note text DEFAULT 'none');
CREATE TABLE account (
    id bigint PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0), country text,
    FOREIGN KEY (country) REFERENCES country DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE transfer (id bigint, account_id bigint, amount bigint, PRIMARY KEY (id, account_id));
"""


class Base(DeclarativeBase):
    pass


@reference
class Country(Base):
    __tablename__ = "country"
    code: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    note: Mapped[str | None] = mapped_column(Text, server_default="none")


@sharded(by="id")
class Account(Base):
    __tablename__ = "account"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    balance: Mapped[int] = mapped_column(BigInteger)
    country: Mapped[str | None] = mapped_column(ForeignKey("country.code"))


@sharded(by="account_id")
class Transfer(Base):
    """One half of a transfer: the same id stands on both accounts' shards, or nowhere."""

    __tablename__ = "transfer"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    account_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    amount: Mapped[int] = mapped_column(BigInteger)


def create_tables(cluster: Cluster) -> None:
    for server in cluster.primaries():
        with cluster.connect(server.id) as connection:
            connection.execute(CREATE_TABLES)


def keys_of(router: Router, shard: str, count: int) -> list[int]:
    """Return the first keys that live on the shard."""
    keys = (key for key in range(1, 100_000) if router.shard_of(key).id == shard)
    return [next(keys) for _ in range(count)]


def fund(router: Router, keys: list[int], balance: int = 100) -> None:
    for key in keys:
        with router.session(key=key) as session:
            session.add(Account(id=key, balance=balance))
            session.commit()


def transfer(router: Router, number: int, source: int, target: int, amount: int = 1) -> Any:
    """Move money between two accounts; return the transaction."""
    with router.transaction(keys=[source, target]) as tx:
        for key, change in sorted([(source, -amount), (target, amount)]):
            tx[key].execute(
                update(Account).where(Account.id == key).values(balance=Account.balance + change)
            )
            tx[key].add(Transfer(id=number, account_id=key, amount=change))
            tx[key].flush()
    return tx


def with_steps(
    router: Router | AsyncRouter, step: Callable[[str], None], decide_within_seconds: float = 5.0
) -> None:
    """Let the router's transactions tell ``step`` how far their commit is."""
    core = router._core
    journal = TransactionJournal(core.background.catalog)
    core.writes.committer = Committer(
        core,
        TwoPhaseCommit(
            core, journal, "test", step=step, decide_within_seconds=decide_within_seconds
        ),
    )


class Ledger:
    """Looks at all shards directly."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def total(self) -> int:
        return sum(self.one(s.id, "SELECT sum(balance) FROM account") or 0 for s in self._servers())

    def transfers(self) -> dict[int, list[int]]:
        """Return the amounts of each transfer that stand anywhere."""
        found: dict[int, list[int]] = {}
        for server in self._servers():
            with self._cluster.connect(server.id) as connection:
                for number, amount in connection.execute("SELECT id, amount FROM transfer"):
                    found.setdefault(number, []).append(amount)
        return found

    def prepared(self) -> list[str]:
        """Return the gids of prepared transactions in the test's databases."""
        query = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
        gids = []
        for server in self._servers():
            with self._cluster.connect(server.id) as connection:
                gids += [gid for (gid,) in connection.execute(query)]
        return gids

    def markers(self) -> int:
        return sum(
            self.one(s.id, "SELECT count(*) FROM shardrouter.transaction_marker")
            for s in self._servers()
        )

    def one(self, node: str, query: str) -> Any:
        with self._cluster.connect(node) as connection:
            row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]

    def journal(self, columns: str = "decision, finished_at IS NOT NULL, damage") -> list[Any]:
        """Return the journal's rows, oldest first."""
        with self._cluster.fleet.catalog.connect(self._cluster.catalog_database) as connection:
            query = f"SELECT {columns} FROM shardrouter.transaction_journal ORDER BY begun_at"
            return connection.execute(query.encode()).fetchall()

    def _servers(self) -> Any:
        return self._cluster.primaries()


def balance(router: Router, key: int) -> int:
    with router.session(key=key, read="primary") as session:
        query = text("SELECT balance FROM account WHERE id = :id")
        return int(session.execute(query, {"id": key}).scalar_one())
