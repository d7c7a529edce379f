"""One transaction over several keys, or over all shards, for sync and for async code."""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from shardrouter.client.runtime import run_in_bridge
from shardrouter.client.transactions.work import AllShardsSession, KeySession, TransactionWork
from shardrouter.errors import ShardKeyMissing
from shardrouter.topology import ShardId

S = TypeVar("S", Session, AsyncSession)


class _Sessions(Generic[S]):
    """The sessions of a transaction, one a key, made when they are first asked for."""

    def __init__(self, work: TransactionWork, make: Callable[..., S]) -> None:
        self._work = work
        self._keys: Final = frozenset(work.keys)
        self._make: Callable[..., S] = make
        self._by_key: dict[Any, S] = {}
        self._reference: S | None = None

    def __getitem__(self, key: Any) -> S:
        """Return the session of one of the keys. Raises ShardKeyMissing for any other."""
        session = self._by_key.get(key)
        if session is None:
            if key not in self._keys:
                raise ShardKeyMissing(
                    f"{key!r} is not among the keys of this transaction",
                    hint="name every key at the start: router.transaction(keys=[a, b])",
                )
            session = self._make(KeySession, unit=self._work.unit_of(key))
            self._by_key[key] = session
            self._work.add_session(_sync(session))
        return session

    @property
    def reference(self) -> S:
        """The session that writes reference tables, on every shard alike."""
        if self._reference is None:
            session = self._make(AllShardsSession, connect=self._work.connect_all)
            self._reference = session
            self._work.add_session(_sync(session))
        return self._reference

    @property
    def id(self) -> UUID | None:
        """After a commit on several shards: its id in the catalog's journal."""
        return self._work.id

    @property
    def pending(self) -> tuple[ShardId, ...]:
        """After the commit: shards that went away before they were told.

        Their part is committed as well. It appears as soon as they can be reached again.
        """
        return self._work.pending


class Transaction(_Sessions[Session]):
    """``with router.transaction(keys=[a, b]) as tx: tx[a].add(...); tx[b].add(...)``.

    Commits all shards when the block ends, rolls all back when an error leaves it.
    """

    def __init__(self, work: TransactionWork, session_options: dict[str, Any]) -> None:
        def make(kind: type[Session], **how: Any) -> Session:
            return kind(**session_options, **how)

        super().__init__(work, make)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if kind is None:
            self._work.commit()
        else:
            self._work.rollback()


class AsyncTransaction(_Sessions[AsyncSession]):
    """``async with arouter.transaction(keys=[a, b]) as tx: await tx[a].execute(...)``."""

    def __init__(self, work: TransactionWork, session_options: dict[str, Any]) -> None:
        def make(kind: type[Session], **how: Any) -> AsyncSession:
            return AsyncSession(sync_session_class=kind, **session_options, **how)

        super().__init__(work, make)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await run_in_bridge(self._work.commit if kind is None else self._work.rollback)


def _sync(session: Session | AsyncSession) -> Session:
    return session.sync_session if isinstance(session, AsyncSession) else session
