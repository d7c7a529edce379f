"""The library door for synchronous code."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import psycopg
from sqlalchemy import MetaData, Result, Select

from shardrouter.client.core import UNSET
from shardrouter.client.face import RouterFace
from shardrouter.client.installing.create_tables import create_tables
from shardrouter.client.open import open_core, open_embedded
from shardrouter.client.outcomes import ShardReport
from shardrouter.client.pin import pinned
from shardrouter.client.plain import translate
from shardrouter.client.pools import make_sync_engine
from shardrouter.client.rebalance import RouterRebalance
from shardrouter.client.runtime import ThreadRuntime
from shardrouter.client.session import ShardSession
from shardrouter.client.transactions.transaction import Transaction
from shardrouter.client.unit import UnitOfWork
from shardrouter.errors import SlotNotOwned
from shardrouter.topology import Topology, key_slot

P = ParamSpec("P")
R = TypeVar("R")


class Router(RouterFace):
    """Routes units of work of synchronous code to the shards of a fleet.

    Thread-safe; make one per process and keep it. It does not survive a fork: make it after.
    ``session_options`` go to every session (``expire_on_commit=False`` and the like).
    """

    @classmethod
    def from_config(cls, path: str | Path = "shardrouter.toml", **session_options: Any) -> Self:
        """Open the fleet that a configuration file names.

        Raises SettingsError, CatalogUnavailable.
        """
        return cls(open_core(Path(path), ThreadRuntime, make_sync_engine), session_options)

    @classmethod
    def embedded(cls, shards: int = 2, replicas: int = 1, **session_options: Any) -> Self:
        """Start a fleet of real Postgres servers for this process; it goes with the router."""
        core = open_embedded(shards, replicas, ThreadRuntime, make_sync_engine)
        return cls(core, session_options)

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
    ) -> ShardSession:
        """Return a SQLAlchemy session on the shard of ``key``; use it in a ``with`` block.

        key: a shard key value, or a tuple for a composite key. Instead: ``id`` (made by
            ``new_id``) or ``shard`` (a name).
        read: None to write; "replica" reads a replica that has replayed this context's commits,
            else waits briefly, else reads the primary; "primary" reads the primary.
        max_lag: seconds or "2s": how old a replica's rows may be.
        fallback: "primary" or "error", when no replica qualifies.

        While the slot is handed over to another shard, a transaction waits before its first
        statement. A session on a whole shard leaves out rows that are not the shard's own, as
        ``map`` does.

        Raises ShardKeyMissing, ShardKeyInvalid, ShardSwapError, LeaseExpired; the session itself
        raises WrongShardKey, ReadOnlySession, BackendUnreachable, PoolTimeout, ReplicaTooStale,
        SlotsHeld, SlotNotOwned.
        """
        unit = self._core.unit(
            key, id=id, shard=shard, read=read, max_lag=max_lag, fallback=fallback
        )
        return ShardSession(unit=unit, **{**self._session_options, **options})

    @contextmanager
    def connection(
        self,
        key: Any = UNSET,
        *,
        id: Any = UNSET,
        shard: str | None = None,
        read: str | None = None,
        max_lag: float | str | None = None,
        fallback: str | None = None,
    ) -> Iterator[psycopg.Connection[Any]]:
        """Lend a plain psycopg connection to the shard of ``key`` for the block.

        Commits at the end of the block and rolls back on an error, as psycopg's own pool does.
        Parameters and errors as in ``session``.
        """
        unit = self._core.unit(
            key, id=id, shard=shard, read=read, max_lag=max_lag, fallback=fallback
        )
        driver: psycopg.Connection[Any] = unit.checkout().driver
        try:
            yield driver
            driver.commit()
        except BaseException as error:
            if not driver.closed:
                driver.rollback()
            ours = translate(error, unit)
            if ours is None:
                raise
            self._core.background.keeper.request_refresh()
            raise ours from error
        finally:
            unit.release()

    def transaction(
        self, keys: Iterable[Any] = (), *, reference: bool = False, **options: Any
    ) -> Transaction:
        """Return one transaction over several keys; use it in a ``with`` block.

        keys: every key it is about; ``tx[key]`` is that key's session.
        reference: True to write reference tables on every shard, through ``tx.reference``.
        options: for the sessions.

        All shards commit when the block ends, or none. Atomic, not isolated: a reader of two
        shards may see one part a moment before the other. Errors: docs/flows/transaction.md.
        """
        work = self._core.writes.transaction(keys, reference)
        return Transaction(work, {**self._session_options, **options})

    def gather(
        self,
        statement: Select[Any],
        *,
        read: str = "primary",
        max_lag: float | str | None = None,
        fallback: str | None = None,
    ) -> Result[Any]:
        """Return the rows of a SELECT over all shards, as one Postgres holding all would.

        ORDER BY, LIMIT, OFFSET, DISTINCT, GROUP BY, HAVING and count, sum, min, max, avg are
        merged exactly; anything else raises CrossShardUnsupported naming the clause
        (docs/reference/gather.md). Each shard answers from a snapshot of its own. read: "primary"
        or "replica", as in ``session``. Raises ScatterFailed when a shard did not answer.
        """
        choice = self._core.read_choice(read, max_lag, fallback)
        assert choice is not None  # read is never None here
        return self._core.scatter.gather(statement, choice)

    def map(
        self, call: Callable[[ShardSession], R], *, read: str | None = None, **options: Any
    ) -> ShardReport[R]:
        """Run ``call(session)`` on every shard, side by side, and report what came of each.

        A writing session commits when the call returns. Nothing is raised for a shard that
        failed: look at ``report.failed``, or call ``report.raise_if_failed()``.

        While slots move, a shard also holds rows that are on their way to it or have left.
        Statements on mapped classes leave them out by themselves; those on a Table need
        ``.where(session.owned_rows(table))``, and text() sees every row that is there.
        """

        def on_unit(unit: UnitOfWork) -> R:
            with ShardSession(unit=unit, **{**self._session_options, **options}) as session:
                result = call(session)
                session.commit()
                return result

        return self._core.scatter.map(on_unit, self._core.read_choice(read, None, None))

    def create_all(self, source: MetaData | type[Any]) -> Topology:
        """Make the tables of a MetaData or declarative base on every shard, with their guards.

        Registers them in the topology, which is returned. Tables that stand are left as they
        are; safe to repeat. Raises UnsupportedSchema, ScatterFailed, StaleEpoch.
        """
        return create_tables(self._core, source)

    def new_id(self, key: Any) -> int:
        """Return a new 64-bit id that sorts by time and carries the key's slot.

        ``router.session(id=...)`` finds the shard by it. Raises IdError, CatalogUnavailable.
        """
        return self._core.writes.ids.new_id(key_slot(key, self._core.topology.slots))

    def unit_of_work(
        self, key: Callable[P, Any], **how: Any
    ) -> Callable[[Callable[Concatenate[ShardSession, P], R]], Callable[P, R]]:
        """Decorate a function that takes a session first; the key comes from its arguments.

        The block is pinned to the key, commits when the function returns and rolls back when it
        raises. ``how`` is passed on to ``session``. When the shard's guard refused the slot, which
        moved unnoticed by this router, all is rolled back and the function called once more with
        a session on the new owner.
        """

        def decorate(function: Callable[Concatenate[ShardSession, P], R]) -> Callable[P, R]:
            def once(*args: P.args, **kwargs: P.kwargs) -> R:
                with pinned(), self.session(key(*args, **kwargs), **how) as session:
                    result = function(session, *args, **kwargs)
                    session.commit()
                    return result

            @wraps(function)
            def run(*args: P.args, **kwargs: P.kwargs) -> R:
                before = self._core.topology.epoch
                try:
                    return once(*args, **kwargs)
                except SlotNotOwned:
                    if not self._core.reload(before):
                        raise
                return once(*args, **kwargs)

            return run

        return decorate

    @property
    def rebalance(self) -> RouterRebalance:
        """Plans and moves of slots between shards; docs/how-to/rebalance.md tells how.

        Raises RouterClosed, LeaseExpired.
        """
        return RouterRebalance(self._core)

    def close(self) -> None:
        """Close the pools and stop the background loops. Safe to call twice."""
        self._core.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
