"""The journal of transactions over shards: what was begun, what was decided, what is left to do.

Invariant: a transaction is decided once. The first decision written stands, whoever writes it:
the process that runs the transaction, the resolver that presumes abort, or an operator. So a
decision is durable: one that a crash of the catalog forgets would be taken twice.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Engine, Row, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from shardrouter.catalog.connect import answering, not_installed
from shardrouter.catalog.current import make_durable, make_lazy
from shardrouter.catalog.schema import fleet
from shardrouter.catalog.transaction_schema import transaction_journal
from shardrouter.topology import ShardId
from shardrouter.topology.transaction import Decision, JournalEntry

_j = transaction_journal.c


class TransactionJournal:
    """Reads and writes the journal. Threads may share one.

    Every method raises CatalogUnavailable, and SettingsError when no catalog is installed.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._fleet: str | None = None

    def fleet(self) -> str:
        """Return the fleet's own id, the same for the life of the catalog."""
        if self._fleet is None:
            with self._asking() as connection:
                found = connection.scalar(select(fleet.c.id))
            if found is None:
                raise not_installed("no fleet was founded")
            self._fleet = str(found)
        return self._fleet

    def begin(self, transaction: UUID, branches: Mapping[ShardId, str], origin: str) -> None:
        """Write down what is about to be prepared, before the first PREPARE TRANSACTION."""
        with self._asking() as connection:
            make_durable(connection)
            connection.execute(
                insert(transaction_journal).values(
                    id=transaction, branches=dict(branches), origin=origin
                )
            )

    def decide(self, transaction: UUID, decision: Decision, by: str) -> Decision | None:
        """Write the decision unless there is one; return the one that stands.

        None: the journal has no such transaction (any more), and it can only be rolled back.
        Durable when this returns. When it raises, the decision may stand or not: ask again.
        """
        with self._asking() as connection:
            make_durable(connection)
            connection.execute(
                update(transaction_journal)
                .where(_j.id == transaction, _j.decision.is_(None))
                .values(decision=decision.value, decided_by=by, decided_at=func.clock_timestamp())
            )
            standing = connection.execute(
                select(_j.decision).where(_j.id == transaction)
            ).scalar_one_or_none()
        return None if standing is None else Decision(standing)

    def adopt(
        self, transaction: UUID, branches: Mapping[ShardId, str], decision: Decision, by: str
    ) -> Decision | None:
        """Enter a transaction the journal does not know, as an operator decided; see ``decide``."""
        with self._asking() as connection:
            make_durable(connection)
            connection.execute(
                insert(transaction_journal)
                .values(id=transaction, branches=dict(branches), origin=by)
                .on_conflict_do_nothing()
            )
        return self.decide(transaction, decision, by)

    def finish(self, transaction: UUID) -> None:
        """Note that every branch has done as decided."""
        with self._asking() as connection:
            make_lazy(connection)
            connection.execute(
                update(transaction_journal)
                .where(_j.id == transaction, _j.finished_at.is_(None))
                .values(finished_at=func.clock_timestamp())
            )

    def note_damage(self, transaction: UUID, damage: str) -> None:
        """Note that a branch is gone although it should have been committed."""
        with self._asking() as connection:
            connection.execute(
                update(transaction_journal)
                .where(_j.id == transaction, _j.finished_at.is_(None))
                .values(damage=damage)
            )

    def unfinished(self, limit: int = 1000, with_damaged: bool = False) -> list[JournalEntry]:
        """Return transactions that are not done everywhere, oldest first."""
        wanted = [_j.finished_at.is_(None)]
        if not with_damaged:
            wanted.append(_j.damage.is_(None))
        return self._entries(*wanted, limit=limit)

    def find(self, transactions: Iterable[UUID]) -> dict[UUID, JournalEntry]:
        """Return what is known of these transactions, by id."""
        wanted = list(transactions)
        found = self._entries(_j.id.in_(wanted), limit=len(wanted)) if wanted else []
        return {entry.id: entry for entry in found}

    def finished_before(self, keep_seconds: float, limit: int = 1000) -> list[JournalEntry]:
        """Return transactions that were done everywhere at least so long ago."""
        age = func.make_interval(0, 0, 0, 0, 0, 0, keep_seconds)
        return self._entries(_j.finished_at < func.clock_timestamp() - age, limit=limit)

    def forget(self, transactions: Sequence[UUID]) -> None:
        """Delete finished transactions."""
        with self._asking() as connection:
            make_lazy(connection)
            connection.execute(
                delete(transaction_journal).where(
                    _j.id.in_(transactions), _j.finished_at.is_not(None)
                )
            )

    def _entries(self, *wanted: ColumnElement[bool], limit: int) -> list[JournalEntry]:
        now = func.clock_timestamp()
        statement = (
            select(
                _j.id,
                _j.branches,
                _j.origin,
                func.extract("epoch", now - _j.begun_at).label("age"),
                _j.decision,
                _j.decided_by,
                func.extract("epoch", now - _j.decided_at).label("decided_age"),
                _j.finished_at,
                _j.damage,
            )
            .where(*wanted)
            .order_by(_j.begun_at, _j.id)
            .limit(limit)
        )
        with self._asking() as connection:
            return [_entry(row) for row in connection.execute(statement)]

    @contextmanager
    def _asking(self) -> Iterator[Connection]:
        with answering(), self._engine.begin() as connection:
            yield connection


def _entry(row: Row[Any]) -> JournalEntry:
    return JournalEntry(
        id=row.id,
        branches={ShardId(shard): gid for shard, gid in row.branches.items()},
        origin=row.origin,
        age_seconds=float(row.age),
        decision=None if row.decision is None else Decision(row.decision),
        decided_by=row.decided_by,
        decided_age_seconds=None if row.decided_age is None else float(row.decided_age),
        is_finished=row.finished_at is not None,
        damage=row.damage,
    )
