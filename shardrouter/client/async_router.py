"""The library door for asyncio: the same core, run in SQLAlchemy's greenlet bridge."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

import psycopg
from sqlalchemy import MetaData, Result, Select
from sqlalchemy.ext.asyncio import AsyncSession

from shardrouter.client.core import UNSET
from shardrouter.client.face import RouterFace
from shardrouter.client.installing.create_tables import create_tables
from shardrouter.client.open import open_core, open_embedded
from shardrouter.client.outcomes import ShardReport
from shardrouter.client.pin import pinned
from shardrouter.client.plain import translate
from shardrouter.client.pools import make_async_engine
from shardrouter.client.rebalance import AsyncRebalance
from shardrouter.client.runtime import GreenletRuntime, run_in_bridge, wait_in_bridge
from shardrouter.client.session import ShardSession
from shardrouter.client.transactions.transaction import AsyncTransaction
from shardrouter.client.unit import UnitOfWork
from shardrouter.errors import SlotNotOwned
from shardrouter.topology import Topology, key_slot

P = ParamSpec("P")
R = TypeVar("R")

# Loading an expired attribute would be a hidden await: SQLAlchemy's own advice for asyncio.
_OPTIONS: Final[dict[str, Any]] = {"expire_on_commit": False}


class AsyncRouter(RouterFace):
    """Routes units of work of asyncio code to the shards of a fleet.

    Make one per process, inside the event loop that uses it (``async with`` or ``open``).
    Parameters and errors are those of ``Router``.
    """

    @classmethod
    def from_config(cls, path: str | Path = "shardrouter.toml", **session_options: Any) -> Self:
        """Open the fleet that a configuration file names. Blocks while it connects: call it at
        start-up, not in a request. Raises SettingsError, CatalogUnavailable.
        """
        return cls(
            open_core(Path(path), GreenletRuntime, make_async_engine), _OPTIONS | session_options
        )

    @classmethod
    def embedded(cls, shards: int = 2, replicas: int = 1, **session_options: Any) -> Self:
        """Start a fleet of real Postgres servers for this process; it goes with the router."""
        core = open_embedded(shards, replicas, GreenletRuntime, make_async_engine)
        return cls(core, _OPTIONS | session_options)

    # Units of work

    def session(
        self,
        key: Any = UNSET,
        *,
        id: Any = UNSET,
        shard: str | None = None,
        read: str | None = None,
        max_lag: float | str | None = None,
        fallback: str | None = None,
        **options: Any,
    ) -> AsyncSession:
        """Return an AsyncSession on the shard of ``key``; use it in an ``async with`` block."""
        unit = self._core.unit(
            key, id=id, shard=shard, read=read, max_lag=max_lag, fallback=fallback
        )
        merged = {**self._session_options, **options}
        return AsyncSession(sync_session_class=ShardSession, unit=unit, **merged)

    @asynccontextmanager
    async def connection(
        self,
        key: Any = UNSET,
        *,
        id: Any = UNSET,
        shard: str | None = None,
        read: str | None = None,
        max_lag: float | str | None = None,
        fallback: str | None = None,
    ) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """Lend a plain psycopg AsyncConnection to the shard of ``key`` for the block."""
        unit = self._core.unit(
            key, id=id, shard=shard, read=read, max_lag=max_lag, fallback=fallback
        )
        driver: psycopg.AsyncConnection[Any] = (await run_in_bridge(unit.checkout)).driver
        try:
            yield driver
            await driver.commit()
        except BaseException as error:
            if not driver.closed:
                await driver.rollback()
            ours = translate(error, unit)
            if ours is None:
                raise
            self._core.background.keeper.request_refresh()
            raise ours from error
        finally:
            await run_in_bridge(unit.release)

    def transaction(
        self, keys: Iterable[Any] = (), *, reference: bool = False, **options: Any
    ) -> AsyncTransaction:
        """Return one transaction over several keys; use it in an ``async with`` block."""
        work = self._core.writes.transaction(keys, reference)
        return AsyncTransaction(work, {**self._session_options, **options})

    async def gather(
        self,
        statement: Select[Any],
        *,
        read: str = "primary",
        max_lag: float | str | None = None,
        fallback: str | None = None,
    ) -> Result[Any]:
        """Return the rows of a SELECT over all shards, as one Postgres holding all would."""
        choice = self._core.read_choice(read, max_lag, fallback)
        assert choice is not None  # read is never None here
        return await run_in_bridge(self._core.scatter.gather, statement, choice)

    async def map(
        self,
        call: Callable[[AsyncSession], Awaitable[R]],
        *,
        read: str | None = None,
        **options: Any,
    ) -> ShardReport[R]:
        """Run ``await call(session)`` on every shard, side by side; report what came of each."""
        merged = {**self._session_options, **options}

        async def work(unit: UnitOfWork) -> R:
            async with AsyncSession(
                sync_session_class=ShardSession, unit=unit, **merged
            ) as session:
                result = await call(session)
                await session.commit()
                return result

        choice = self._core.read_choice(read, None, None)
        return await run_in_bridge(
            self._core.scatter.map, lambda unit: wait_in_bridge(work(unit)), choice
        )

    async def create_all(self, source: MetaData | type[Any]) -> Topology:
        """Make the tables of a MetaData or declarative base on every shard, with their guards."""
        return await run_in_bridge(create_tables, self._core, source)

    async def new_id(self, key: Any) -> int:
        """Return a new 64-bit id that sorts by time and carries the key's slot."""
        slot = key_slot(key, self._core.topology.slots)
        made = self._core.writes.ids.try_new_id(slot)
        if made is not None:
            return made
        return await asyncio.to_thread(self._core.writes.ids.new_id, slot)

    def unit_of_work(
        self, key: Callable[P, Any], **how: Any
    ) -> Callable[
        [Callable[Concatenate[AsyncSession, P], Awaitable[R]]], Callable[P, Awaitable[R]]
    ]:
        """Decorate a coroutine that takes a session first; the key comes from its arguments."""

        def decorate(
            function: Callable[Concatenate[AsyncSession, P], Awaitable[R]],
        ) -> Callable[P, Awaitable[R]]:
            async def once(*args: P.args, **kwargs: P.kwargs) -> R:
                with pinned():
                    async with self.session(key(*args, **kwargs), **how) as session:
                        result = await function(session, *args, **kwargs)
                        await session.commit()
                        return result

            @wraps(function)
            async def run(*args: P.args, **kwargs: P.kwargs) -> R:
                before = self._core.topology.epoch
                try:
                    return await once(*args, **kwargs)
                except SlotNotOwned:
                    if not await run_in_bridge(self._core.reload, before):
                        raise
                return await once(*args, **kwargs)

            return run

        return decorate

    @property
    def rebalance(self) -> AsyncRebalance:
        """Plans and moves of slots between shards; docs/how-to/rebalance.md tells how.

        Raises RouterClosed, LeaseExpired.
        """
        return AsyncRebalance(self._core)

    async def close(self) -> None:
        """Close the pools and stop the background loops. Safe to call twice."""
        await run_in_bridge(self._core.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()
