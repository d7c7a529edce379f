"""One bounded SQLAlchemy connection pool per node, for sessions and plain psycopg alike."""

import threading
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

import psycopg
from sqlalchemy import Engine, create_engine, event, exc
from sqlalchemy.ext.asyncio import create_async_engine

from shardrouter.client.causal import current_scope
from shardrouter.config import PoolSettings
from shardrouter.errors import BackendUnreachable, PoolTimeout, SlotNotOwned
from shardrouter.postgres import AsyncBackend, Backend
from shardrouter.topology import Epoch, Node, NodeId, Position, Role, Shard, ShardId

_URL: Final = "postgresql+psycopg://"  # the DSN itself goes to libpq untouched


class Pools:
    """The pools of all nodes, made on first use and disposed when their node leaves.

    ``dispose`` closes the idle connections of an engine; those in use close when they come back.
    """

    def __init__(
        self,
        settings: PoolSettings,
        make_engine: "EngineFactory",
        on_slot_refused: Callable[[], None],
        token_epoch: Callable[[], int],
    ) -> None:
        """token_epoch: tells the epoch that goes into tokens, see ``Token``."""
        self._settings = settings
        self._make_engine = make_engine
        self._on_slot_refused = on_slot_refused
        self._token_epoch = token_epoch
        self._engines: dict[tuple[NodeId, str], Engine] = {}
        self._lock = threading.Lock()

    def engine(self, shard: Shard, node: Node) -> Engine:
        """Return the node's pool."""
        engine = self._engines.get((node.id, node.dsn))
        if engine is not None:
            return engine
        with self._lock:
            key = (node.id, node.dsn)
            if key not in self._engines:
                self._engines[key] = self._open(shard, node)
            return self._engines[key]

    def in_use(self, node: Node) -> int:
        """Return how many connections to the node are checked out: its load as we see it."""
        engine = self._engines.get((node.id, node.dsn))
        return 0 if engine is None else engine.pool.checkedout()  # type: ignore[attr-defined]

    def retire(self, present: Iterable[Node]) -> list[Engine]:
        """Forget the pools of nodes that left the topology; return them to be disposed."""
        keep = {(node.id, node.dsn) for node in present}
        with self._lock:
            gone = [key for key in self._engines if key not in keep]
            return [self._engines.pop(key) for key in gone]

    def all(self) -> list[Engine]:
        """Return every open pool."""
        return list(self._engines.values())

    def _open(self, shard: Shard, node: Node) -> Engine:
        engine = self._make_engine(node.dsn, self._settings)
        shard_id = shard.id

        @event.listens_for(engine, "connect")
        def know_commits(dbapi_connection: Any, record: Any) -> None:
            recorder = _commit_recorder(shard_id, self._token_epoch)
            driver_connection(dbapi_connection).on_commit = recorder

        @event.listens_for(engine, "checkout")
        def refuse_dead(dbapi_connection: Any, record: Any, proxy: Any) -> None:
            if driver_connection(dbapi_connection).is_surely_dead():
                raise exc.DisconnectionError("the server closed the idle connection")

        @event.listens_for(engine, "reset")
        def end_transaction(dbapi_connection: Any, record: Any, state: Any) -> None:
            if not state.terminate_only and not driver_connection(dbapi_connection).is_idle:
                dbapi_connection.rollback()

        @event.listens_for(engine, "handle_error")
        def tell_refusals(context: Any) -> None:
            if getattr(context.original_exception, "sqlstate", None) == SlotNotOwned.sqlstate:
                self._on_slot_refused()
                raise slot_not_owned(context.original_exception, shard_id) from None

        return engine


class EngineFactory(Protocol):
    """Makes the engine of one node: ``make_sync_engine`` or ``make_async_engine``."""

    def __call__(self, dsn: str, settings: PoolSettings) -> Engine: ...


def make_sync_engine(dsn: str, settings: PoolSettings) -> Engine:
    """Return an engine whose connections are ``Backend``."""
    engine = create_engine(_URL, **_pool_options(settings))

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, args: Any, params: Any) -> Backend:
        return Backend.connect(dsn, **_connect_options(settings), **params)

    return engine


def make_async_engine(dsn: str, settings: PoolSettings) -> Engine:
    """Return the sync face of an engine whose connections are ``AsyncBackend``."""
    engine = create_async_engine(_URL, **_pool_options(settings)).sync_engine

    @event.listens_for(engine, "do_connect")
    def prepare(dialect: Any, record: Any, args: list[Any], params: dict[str, Any]) -> None:
        args[:] = [dsn]
        params.update(_connect_options(settings), async_creator_fn=AsyncBackend.connect)

    return engine


def driver_connection(dbapi_connection: Any) -> Any:
    """Return the psycopg connection under SQLAlchemy's (the async one is wrapped)."""
    return getattr(dbapi_connection, "driver_connection", None) or getattr(
        dbapi_connection, "_connection", dbapi_connection
    )


def slot_not_owned(error: BaseException, shard: ShardId) -> SlotNotOwned:
    """Return our error for a guard's SR001."""
    diag = getattr(error, "diag", None)
    return SlotNotOwned(
        str(getattr(diag, "message_primary", None) or error),
        shard=shard,
        hint="the topology has moved on and was reloaded: run the whole transaction again",
    )


def checkout_error(error: Exception, shard: Shard, node: Node, epoch: Epoch) -> Exception:
    """Return our error for a failed checkout, or the error itself when it is another matter."""
    where: dict[str, Any] = {"shard": shard.id, "node": node.id, "epoch": epoch}
    if isinstance(error, exc.TimeoutError):
        return PoolTimeout(
            f"all connections to {node.id} stayed in use",
            hint="raise pool.size or pool.checkout_timeout_seconds, or hold sessions shorter",
            **where,
        )
    if isinstance(error, exc.OperationalError | psycopg.OperationalError):
        role = "primary" if node.role is Role.PRIMARY else "replica"
        cause = str(getattr(error, "orig", error)).strip().splitlines()[0]
        return BackendUnreachable(
            f"no connection to the {role}: {cause}",
            hint="check that the node runs and accepts connections: `shardrouter shard list`",
            **where,
        )
    return error


def _commit_recorder(shard: ShardId, token_epoch: Callable[[], int]) -> Callable[[Position], None]:
    def record(position: Position) -> None:
        current_scope().record(shard, position, token_epoch())

    return record


def _pool_options(settings: PoolSettings) -> dict[str, Any]:
    return {
        "pool_size": settings.size,
        "max_overflow": 0,
        "pool_timeout": settings.checkout_timeout_seconds,
        "pool_recycle": settings.recycle_seconds,
        "pool_reset_on_return": None,  # the "reset" listener asks first whether there is anything
        "pool_use_lifo": True,  # a burst's extra connections fall idle and age out
    }


def _connect_options(settings: PoolSettings) -> dict[str, Any]:
    return {
        "connect_timeout": max(2, round(settings.connect_timeout_seconds)),  # libpq: whole, >= 2
        "application_name": "shardrouter",
    }
