"""Connections of a mover to the primaries of two shards: found by asking, with deadlines, named.

The name ``shardrouter-move-<number>-<token>`` is how a later mover finds the sessions of an
earlier one and ends them.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, exc
from sqlalchemy.pool import NullPool

from shardrouter.catalog import DeadlineConnection
from shardrouter.errors import BackendUnreachable, NoPrimary
from shardrouter.postgres import Backend
from shardrouter.topology import Node, Shard, ShardId

ANSWER_SECONDS: Final = 30.0  # for one statement that does not read whole tables
IN_RECOVERY: Final = 0  # timelines count from 1
CUTOVER_ANSWER_SECONDS: Final = 5.0  # while writers wait; routers refuse them after 10 s
PATIENT_SECONDS: Final = 6 * 3600.0  # for one that may
_KEEPALIVE: Final = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}


@dataclass(frozen=True, slots=True)
class Identity:
    """Which server, on which history, a primary is."""

    system_id: str
    timeline: int
    """IN_RECOVERY on a server that takes no writes."""


@dataclass(frozen=True, slots=True)
class Session:
    """An open connection to a primary."""

    shard: ShardId
    node: Node
    identity: Identity
    connection: Connection


class MoverConnection(DeadlineConnection, Backend):
    """A connection whose every answer has a deadline, and which sends BEGIN along."""


class Sessions:
    """Opens connections to primaries and keeps one for each shard."""

    def __init__(self, name: str, connect_timeout_seconds: float) -> None:
        self.name = name
        self._timeout = max(2, math.ceil(connect_timeout_seconds))
        self._kept: dict[ShardId, Session] = {}

    def kept(self, shard: ShardId) -> Session | None:
        """Return the kept session of a shard when it is still good."""
        session = self._kept.get(shard)
        if session is None or session.connection.closed or session.connection.invalidated:
            return None
        return session

    def keep(self, session: Session) -> None:
        """Keep a session for its shard."""
        self.close(session.shard)
        self._kept[session.shard] = session

    def close(self, shard: ShardId) -> None:
        """Close the kept session of a shard, whatever state it is in."""
        session = self._kept.pop(shard, None)
        if session is not None:
            close(session.connection)

    def close_all(self) -> None:
        """Close every kept session."""
        for shard in list(self._kept):
            self.close(shard)

    def open(self, shard: Shard) -> Session:
        """Connect to the node that takes the shard's writes. The caller closes or keeps it.

        Every node is asked: of several that take writes the one on the latest timeline is it.
        Raises BackendUnreachable when none answers, NoPrimary when none takes writes.
        """
        found: list[Session] = []
        unreachable: list[BackendUnreachable] = []
        for node in shard.nodes:
            try:
                session = self.ask(shard, node)
            except BackendUnreachable as error:
                unreachable.append(error)
                continue
            if session is not None:
                found.append(session)
        if not found:
            raise _nobody(shard, unreachable)
        latest = max(found, key=lambda session: session.identity.timeline)
        for session in found:
            if session is not latest:
                close(session.connection)
        return latest

    def ask(self, shard: Shard, node: Node) -> Session | None:
        """Connect to a node; None when it takes no writes. Raises BackendUnreachable."""
        connection = self._connect(shard, node)
        try:
            with connection.begin():
                identity = who(connection)
                connection.exec_driver_sql(_SETTINGS)
        except exc.DBAPIError as error:
            close(connection)
            raise _unreachable(shard, node, error.orig) from error
        if identity.timeline == IN_RECOVERY:
            close(connection)
            return None
        return Session(shard.id, node, identity, connection)

    def _connect(self, shard: Shard, node: Node) -> Connection:
        try:
            return _engine(node.dsn, self.name, self._timeout).connect()
        except exc.OperationalError as error:
            raise _unreachable(shard, node, error.orig) from error


def set_deadline(connection: Connection, seconds: float) -> None:
    """Close the connection when an answer to a statement takes longer."""
    driver: Any = connection.connection.driver_connection
    driver.answer_within_seconds = seconds


def who(connection: Connection) -> Identity:
    """Ask a server who it is, within the caller's transaction."""
    row = connection.exec_driver_sql(_WHO).one()
    return Identity(row.system_id, int(row.timeline, 16))


@contextmanager
def patient(connection: Connection, seconds: float = PATIENT_SECONDS) -> Iterator[None]:
    """Let statements of the block take their time, if ``Job.on`` is not called in it."""
    driver: Any = connection.connection.driver_connection
    before = driver.answer_within_seconds
    driver.answer_within_seconds = seconds
    try:
        yield
    finally:
        driver.answer_within_seconds = before


def _engine(dsn: str, name: str, timeout: int) -> Engine:
    engine = create_engine("postgresql+psycopg://", poolclass=NullPool)

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, args: Any, params: Any) -> MoverConnection:
        options: dict[str, Any] = {**_KEEPALIVE, **params}
        connection = MoverConnection.connect(
            dsn, connect_timeout=timeout, application_name=name, **options
        )
        connection.answer_within_seconds = ANSWER_SECONDS
        return connection

    return engine


def close(connection: Connection) -> None:
    """Close a connection whatever state it is in."""
    with suppress(exc.SQLAlchemyError, psycopg.Error):
        connection.invalidate()  # a rollback on a dead server would only wait
    with suppress(exc.SQLAlchemyError, psycopg.Error):
        connection.close()


def _nobody(shard: Shard, unreachable: list[BackendUnreachable]) -> BackendUnreachable | NoPrimary:
    if len(unreachable) == len(shard.nodes):
        return unreachable[0]
    return NoPrimary(
        f"no node of shard {shard.id} takes writes",
        shard=shard.id,
        hint="finish the failover (pg_promote); the move goes on by itself",
    )


def _unreachable(shard: Shard, node: Node, cause: BaseException | None) -> BackendUnreachable:
    said = (str(cause).strip().splitlines() or ["no answer"])[0]
    return BackendUnreachable(
        f"no connection: {said}",
        shard=shard.id,
        node=node.id,
        hint="check that the node runs and accepts connections: `shardrouter shard list`",
    )


_WHO: Final = """
SELECT (SELECT system_identifier::text FROM pg_catalog.pg_control_system()) AS system_id,
       CASE WHEN pg_catalog.pg_is_in_recovery() THEN '0' ELSE pg_catalog.left(
            pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8) END AS timeline
"""

# An autovacuum gives its lock up after the waiter's deadlock_timeout: 1 s would be the longest
# part of a cutover. A client that is gone must not keep a statement running, or its locks.
_SETTINGS: Final = """
SELECT pg_catalog.set_config(name, value, false)
  FROM (VALUES ('statement_timeout', '0'),
               ('lock_timeout', '0'),
               ('idle_in_transaction_session_timeout', '0'),
               ('idle_session_timeout', '0'),
               ('client_connection_check_interval', '2s'),
               ('default_transaction_isolation', 'read committed'),
               ('default_transaction_read_only', 'off'),
               ('synchronous_commit', 'on'),
               ('deadlock_timeout', '10ms')) AS wanted (name, value)
 WHERE CASE name
       WHEN 'deadlock_timeout'
       THEN pg_catalog.has_parameter_privilege(current_user, name, 'SET')
       WHEN 'synchronous_commit'
       THEN pg_catalog.current_setting('synchronous_commit') IN ('off', 'local')
       ELSE true END
"""
