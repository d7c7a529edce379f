"""Connections to the catalog that never hang: every statement has a deadline on both ends.

Postgres' own ``statement_timeout`` ends slow statements. A server that is frozen, or behind a cut
network, cannot do that: so the client gives up shortly after and closes the connection.
"""

import math
import select
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Engine, create_engine, event, exc

from shardrouter.errors import CatalogUnavailable, SettingsError

T = TypeVar("T")

CLIENT_GRACE_SECONDS: Final = 0.5  # lets the server's own, better worded timeout come first
POOL_SIZE: Final = 2  # one for the keeper's loop, one for whoever else asks
POOL_OVERFLOW: Final = 3
TRUSTED_SECONDS: Final = 1.0  # a connection that was in use so short ago is not asked
_IDLE_SINCE: Final = "idle_since"
_KEEPALIVE: Final = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}


class DeadlineConnection(psycopg.Connection[Any]):
    """A psycopg connection that closes itself when an answer takes too long."""

    answer_within_seconds: float = 0.0
    """0: no deadline (while connecting, which has its own)."""

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        if self.answer_within_seconds:
            deadline = time.monotonic() + self.answer_within_seconds
            gen = self._until(deadline, gen)
        return super().wait(gen, *args, **kwargs)

    def _until(self, deadline: float, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        try:
            wanted = next(gen)
            while True:
                # psycopg comes back at least every 0.1 s, with nothing when nothing is ready.
                ready = yield wanted
                if not ready and time.monotonic() >= deadline:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(
                        f"no answer within {self.answer_within_seconds:g} s"
                    )
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def connect_options(
    dsn: str, connect_timeout_seconds: float, statement_timeout_seconds: float
) -> dict[str, Any]:
    """Return the libpq parameters that give a catalog connection its deadlines."""
    server_ms = math.ceil(statement_timeout_seconds * 1000)
    # READ COMMITTED whatever the database's default: the heartbeat reads after it has the lock.
    ours = (
        f"-c statement_timeout={server_ms} -c lock_timeout={server_ms}"
        f" -c idle_in_transaction_session_timeout={2 * server_ms}"
        " -c default_transaction_isolation=read\\ committed"
    )
    given = conninfo_to_dict(dsn).get("options") or ""
    return {
        "connect_timeout": math.ceil(connect_timeout_seconds),
        "application_name": "shardrouter-catalog",
        "options": f"{given} {ours}".strip(),
        **_KEEPALIVE,
    }


def catalog_engine(
    dsn: str, connect_timeout_seconds: float = 3.0, statement_timeout_seconds: float = 5.0
) -> Engine:
    """Return an engine on the catalog database. Makes no connection yet."""
    options = connect_options(dsn, connect_timeout_seconds, statement_timeout_seconds)
    engine = create_engine(
        "postgresql+psycopg://",
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
        pool_timeout=connect_timeout_seconds + statement_timeout_seconds,
    )

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, args: Any, params: Any) -> DeadlineConnection:
        connection = DeadlineConnection.connect(dsn, **options, **params)
        connection.answer_within_seconds = statement_timeout_seconds + CLIENT_GRACE_SECONDS
        return connection

    @event.listens_for(engine, "checkin")
    def rests(connection: Any, record: Any) -> None:
        record.info[_IDLE_SINCE] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def must_live(connection: Any, record: Any, proxy: Any) -> None:
        idle_since = record.info.get(_IDLE_SINCE)
        if idle_since is None or not _is_doubtful(connection, time.monotonic() - idle_since):
            return
        try:
            engine.dialect.do_ping(connection)
        except psycopg.Error as error:
            raise exc.InvalidatePoolError from error  # this one, and all that are as old

    return engine


def _is_doubtful(connection: DeadlineConnection, idle_seconds: float) -> bool:
    """True when it rested for long, or has something to say: the end of the file, most likely.

    A ping before every use, as the pool can do it, costs writers that wait for a cutover.
    """
    if idle_seconds > TRUSTED_SECONDS or connection.closed:
        return True
    said = select.poll()  # not select(): a proxy has more files open than that takes
    said.register(connection.fileno(), select.POLLIN)
    return bool(said.poll(0))


@contextmanager
def answering() -> Iterator[None]:
    """Turn the database's errors into ours: CatalogUnavailable, or SettingsError."""
    try:
        yield
    except exc.TimeoutError as error:
        raise CatalogUnavailable(
            "all connections to the catalog are in use", hint="try again in a moment"
        ) from error
    except (exc.DBAPIError, psycopg.Error) as error:
        ours = _ours(getattr(error, "orig", None) or error)
        if ours is None:
            raise
        raise ours from error


def _ours(cause: BaseException) -> CatalogUnavailable | SettingsError | None:
    """Return our error, or None for one that only a bug can bring about."""
    said = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
    match getattr(cause, "sqlstate", None):
        case "42P01" | "3F000" | "42703":  # table, schema or column is missing
            return not_installed(said)
        case "42501":
            return SettingsError(
                f"the catalog refuses this user: {said}",
                hint="grant the rights that docs/reference/configuration.md lists",
            )
        case "25006":
            return CatalogUnavailable(
                f"the catalog server does not take writes: {said}",
                hint="catalog.dsn must name the primary; with several hosts add"
                " target_session_attrs=read-write",
            )
    if not isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError):
        return None
    return CatalogUnavailable(
        f"the catalog does not answer: {said}",
        hint="check that its Postgres runs and that catalog.dsn is right"
        " (`shardrouter config show`); a local fleet is started by `shardrouter up`",
    )


def not_installed(said: str) -> SettingsError:
    """Return the error of a database that holds no catalog, or half of one."""
    return SettingsError(
        f"no catalog is installed there: {said}",
        hint="install it with `shardrouter init --catalog DSN`",
    )
