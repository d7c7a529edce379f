"""pgbench's tables, spread by account: made, filled where each row belongs, counted, summed up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from sqlalchemy import BigInteger, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks.measure import check
from shardrouter import Router, sharded
from shardrouter.postgres.guard_sql import in_slots_sql
from shardrouter.topology import KeyColumn, KeyType, Slot, Topology

KEY: Final = (KeyColumn("aid", KeyType.INT8),)
FILLER_BYTES: Final = 84
"""As in pgbench: with its header and key a row of accounts takes about 128 bytes."""


class Base(DeclarativeBase):
    pass


@sharded(by="aid")
class Account(Base):
    __tablename__ = "accounts"
    aid: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    balance: Mapped[int] = mapped_column(BigInteger)
    filler: Mapped[str] = mapped_column(Text)


@sharded(by="aid")
class Change(Base):
    """What a transaction added to an account."""

    __tablename__ = "changes"
    aid: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    delta: Mapped[int] = mapped_column(BigInteger)


@dataclass(frozen=True, slots=True)
class Held:
    """What all shards hold together."""

    accounts: int
    changes: int
    balance: int
    added: int
    """The sum of the changes, which is the sum of the balances."""


def fill(router: Router, accounts: int) -> None:
    """Make the tables on every shard, and accounts from 1 on, each where it belongs."""
    topology = router.create_all(Base)
    for shard in topology.shards:
        owned = in_slots_sql(KEY, topology.slots_of(shard.id), topology.slots)
        with psycopg.connect(shard.primary.dsn, autocommit=True) as connection:
            connection.execute(
                f"INSERT INTO accounts SELECT aid, 0, repeat('x', {FILLER_BYTES})"
                f" FROM generate_series(1::bigint, {accounts}) AS aid WHERE {owned}".encode()
            )
            connection.execute("VACUUM ANALYZE accounts")


def held(topology: Topology) -> Held:
    """Add up what the shards own. Raises WrongAnswer when one holds a row of another's slot."""
    found = [_held_by(topology, shard.id) for shard in topology.shards]
    return Held(*(sum(column) for column in zip(*found, strict=True)))


def _held_by(topology: Topology, shard: str) -> Sequence[int]:
    slots = topology.slots_of(topology.shard(shard).id)
    owned = in_slots_sql(KEY, slots, topology.slots)
    with psycopg.connect(topology.shard(shard).primary.dsn) as connection:
        strangers = _one(connection, f"SELECT count(*) FROM accounts WHERE NOT ({owned})")
        check(strangers == 0, f"{shard} holds {strangers} accounts of other shards")
        return [
            _one(connection, "SELECT count(*) FROM accounts"),
            _one(connection, f"SELECT count(*) FROM changes WHERE {owned}"),
            _one(connection, "SELECT coalesce(sum(balance), 0) FROM accounts"),
            _one(connection, f"SELECT coalesce(sum(delta), 0) FROM changes WHERE {owned}"),
        ]


def accounts_in(slots: Sequence[Slot], topology: Topology, shard: str) -> int:
    """Return how many accounts of these slots a shard's primary holds."""
    chosen = in_slots_sql(KEY, slots, topology.slots)
    with psycopg.connect(topology.shard(shard).primary.dsn) as connection:
        return _one(connection, f"SELECT count(*) FROM accounts WHERE {chosen}")


def _one(connection: psycopg.Connection[Any], query: str) -> int:
    row = connection.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0
