"""What happens inside ``router.transaction``, for both routers.

Keys on one shard share a connection and a database transaction, but each key has a session of
its own that only takes rows of its slot. Shards are enlisted when they are first used.
"""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, RootTransaction, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from shardrouter import metrics
from shardrouter.client.causal import current_scope
from shardrouter.client.pin import check_pin
from shardrouter.client.session import ShardSession
from shardrouter.client.stay import Stay
from shardrouter.client.transactions.branch import Branch, first_line, rollback_all
from shardrouter.client.transactions.commit import Committer
from shardrouter.client.transactions.reference_writes import ReferenceSession, Repeater
from shardrouter.client.unit import Checkouts, UnitOfWork
from shardrouter.config import TransactionSettings
from shardrouter.errors import (
    CommitInDoubt,
    RoutingError,
    ShardKeyInvalid,
    ShardKeyMissing,
    TransactionAborted,
)
from shardrouter.topology import Shard, ShardId, Slot, Topology, key_slot

logger = logging.getLogger(__name__)

_SET_LOCK_TIMEOUT: Final = text("SELECT pg_catalog.set_config('lock_timeout', :wait, true)")


class KeyUnit(UnitOfWork):
    """The unit of one key. The transaction owns its connection and gives it back."""

    __slots__ = ("_enlist", "is_used")

    def __init__(
        self,
        core: Checkouts,
        topology: Topology,
        slot: Slot,
        enlist: "Callable[[KeyUnit], Connection]",
    ) -> None:
        super().__init__(core, topology.owner(slot), slot, topology.slots, None)
        self._enlist = enlist
        self.is_used = False
        """True once ``shard`` is where the key's rows are read and written."""

    def connection(self) -> Connection:
        return self._enlist(self)

    def release(self) -> None:
        pass


class KeySession(ShardSession):
    """The session of one key. The transaction commits; the session alone cannot."""

    def __init__(self, bind: None = None, *, unit: UnitOfWork, **options: Any) -> None:
        super().__init__(unit=unit, join_transaction_mode="rollback_only", **options)

    def commit(self) -> None:
        """Refuse: half a transaction cannot be committed."""
        raise _commit_refused()


class AllShardsSession(ReferenceSession):
    """The session of all shards, ``tx.reference``. The transaction commits, the session cannot."""

    def commit(self) -> None:
        """Refuse: half a transaction cannot be committed."""
        raise _commit_refused()


class TransactionWork:
    """The state of one running transaction, for both routers. Not shared between threads."""

    def __init__(
        self,
        core: Checkouts,
        committer: Committer,
        settings: TransactionSettings,
        keys: Iterable[Any],
        reference: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.keys = _checked(keys)
        if not self.keys and not reference:
            raise ShardKeyMissing(
                "a transaction needs to know what it is about",
                hint="router.transaction(keys=[a, b]), or reference=True for reference tables",
            )
        self._core = core
        self._committer = committer
        self._settings = settings
        self._clock = clock
        self._deadline = float("inf")
        self._topology = core.topology
        """Of the moment it was made; once it has begun, of that moment."""

        self._stay: Stay | None = None
        self._is_reference = reference
        self._branches: dict[ShardId, tuple[Branch, RootTransaction]] = {}
        self._sessions: list[Session] = []
        self._repeater: Repeater | None = None
        self._is_over = False
        self.id: UUID | None = None
        """Of the journal's entry, after a commit on several shards."""

        self.pending: tuple[ShardId, ...] = ()
        """After the commit: shards that did not answer any more. Their part is committed too and
        appears as soon as they can be reached."""

        for key in self.keys:
            key_slot(key, self._topology.slots)  # refuses what is no key, before anything is done
            check_pin(("key", key))
        if reference:
            check_pin(("shard", "all of them"))

    # Sessions

    def unit_of(self, key: Any) -> KeyUnit:
        """Return the unit of a key's session. Raises ShardKeyMissing, ShardKeyInvalid."""
        slot = key_slot(key, self._topology.slots)
        return KeyUnit(self._core, self._topology, slot, self._enlist_key)

    def add_session(self, session: Session) -> None:
        """Take over a session's fate: it is flushed before the commit and closed at the end."""
        self._sessions.append(session)

    def connect_all(self) -> Connection:
        """Enlist every shard, in the order all transactions use; return the first's connection."""
        if not self._is_reference:
            raise RoutingError(
                "this transaction is not over all shards",
                hint="open it with router.transaction(reference=True)",
            )
        if self._repeater is None:
            self._begin()
            for shard in sorted(self._topology.shards, key=lambda shard: shard.id):
                self._enlist(shard)
            first, *others = sorted(
                (branch for branch, _ in self._branches.values()), key=lambda b: b.shard.id
            )
            self._repeater = Repeater(first, others)
        return self._branches[min(self._branches)][0].connection

    def _begin(self) -> None:
        """Begin with all keys at once, after a wait where one of their slots is paused.

        So no part of the transaction waits while another is open, which would hold up the very
        move that it waits for.
        """
        if self._stay is not None:
            return
        self._check_open()
        slots = {key_slot(key, self._topology.slots) for key in self.keys}
        everywhere = self._is_reference
        stay = Stay(slots=() if everywhere else tuple(slots), writes=True, waits=True)
        self._topology = self._core.in_flight.enter(stay)
        self._stay = stay
        self._deadline = self._clock() + self._settings.timeout_seconds

    def _enlist_key(self, unit: KeyUnit) -> Connection:
        """Enlist the shard that owns the key when it is first used."""
        self._begin()
        slot = unit.slot
        assert slot is not None  # it has a key
        if not unit.is_used:
            unit.shard = self._core.topology.owner(slot)
            unit.is_used = True
        self._core.queries.of[slot] += 1
        return self._enlist(unit.shard)

    def _enlist(self, shard: Shard) -> Connection:
        self._check_open()
        enlisted = self._branches.get(shard.id)
        if enlisted is None:
            branch = Branch(shard, self._core.checkout(shard, None))
            connection = branch.connection
            self._branches[shard.id] = (branch, connection.begin())
            connection.execute(_SET_LOCK_TIMEOUT, {"wait": f"{self._settings.lock_timeout_ms}ms"})
            return connection
        branch, transaction = enlisted
        if not transaction.is_active:
            raise _rolled_back(shard.id)
        return branch.connection

    # End

    def commit(self) -> None:
        """Flush all sessions and commit all shards, or none. Raises as ``Committer.commit``."""
        self._check_open()
        outcome = "rolled_back"
        try:
            self._flush()
            self._check_whole()
            self._commit()
            outcome = "pending" if self.pending else "committed"
            for session in self._sessions:
                session.dispatch.after_commit(session)
                if session.expire_on_commit:
                    session.expire_all()
        except CommitInDoubt:
            outcome = "in_doubt"
            raise
        finally:
            metrics.TRANSACTIONS.labels(outcome).inc()
            self._close()

    def _flush(self) -> None:
        for session in self._sessions:
            session.dispatch.before_commit(session)  # may change what another session holds
        for session in self._sessions:
            session.flush()

    def _commit(self) -> None:
        branches = [branch for branch, _ in self._branches.values()]
        if branches:
            done = self._committer.commit(branches)
            self.id, self.pending = done.id, tuple(done.pending)
            for shard, gid in done.pending.items():
                current_scope().add_pending(shard, gid)

    def rollback(self) -> None:
        """Roll back on every shard. Safe to call twice."""
        if not self._is_over:
            metrics.TRANSACTIONS.labels("rolled_back").inc()
            self._close()

    def _check_open(self) -> None:
        if self._is_over:
            raise RoutingError(
                "the transaction is over", hint="open another one with router.transaction"
            )

    def _check_whole(self) -> None:
        """Refuse to commit a transaction of which a part is gone, or that took too long."""
        for branch, transaction in self._branches.values():
            if not transaction.is_active:
                raise _rolled_back(branch.shard.id)
        if self._repeater is not None:
            if self._repeater.disagreement is not None:
                raise self._repeater.disagreement
            now = self._core.topology
            if {shard.id for shard in now.shards} != {shard.id for shard in self._topology.shards}:
                raise TransactionAborted(
                    "a shard was added or removed while reference tables were written",
                    epoch=now.epoch,
                    hint="nothing was written on any shard: run the whole transaction again",
                )
        if self._clock() > self._deadline:
            raise TransactionAborted(
                f"the transaction was open for more than {self._settings.timeout_seconds:g} s",
                hint="nothing was written on any shard: do less in one transaction, or raise "
                "transaction.timeout_seconds",
            )

    def _close(self) -> None:
        """Roll back what is still open, detach the sessions, give every connection back."""
        self._is_over = True
        try:
            self._give_back()
        finally:
            if self._stay is not None:
                self._core.in_flight.leave(self._stay)

    def _give_back(self) -> None:
        branches = [branch for branch, _ in self._branches.values()]
        rollback_all(branches)
        for session in self._sessions:
            session.close()
        for branch in branches:
            try:
                branch.give_back()
            except DBAPIError as error:
                logger.info("connection_lost shard=%s error=%s", branch.shard.id, first_line(error))


def _checked(keys: Iterable[Any]) -> tuple[Any, ...]:
    """Return the keys. A single text is a key somebody forgot to put into a list."""
    if isinstance(keys, str | bytes) or not isinstance(keys, Iterable):
        raise ShardKeyInvalid(
            f"keys is a list of keys, not {keys!r}", hint="router.transaction(keys=[a, b])"
        )
    return tuple(keys)


def _commit_refused() -> RoutingError:
    return RoutingError(
        "a session of a transaction over shards does not commit on its own",
        hint="leave the block of router.transaction: it commits all shards or none",
    )


def _rolled_back(shard: ShardId) -> TransactionAborted:
    return TransactionAborted(
        "a part of the transaction was rolled back, so all of it is",
        shard=shard,
        hint="let errors leave the block of router.transaction, or guard single statements with "
        "session.begin_nested()",
    )
