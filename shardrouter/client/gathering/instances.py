"""Make instances of mapped classes of rows that have been fetched already.

SQLAlchemy loads them itself, from a DBAPI connection that answers every query with the given rows.
So types, inheritance, deferred columns and load events are those of an ordinary session, and no
row that the merge drops is made an instance.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from sqlalchemy import Engine, Select, event
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import make_url
from sqlalchemy.orm import ORMExecuteState, Session
from sqlalchemy.pool import NullPool

from shardrouter.client.gathering.result import Row
from shardrouter.errors import CrossShardUnsupported


class LoadingSession(Session):
    """A session that sends one statement: another would see the rows of one shard only."""


@event.listens_for(LoadingSession, "do_orm_execute")
def _refuse_second_load(state: ORMExecuteState) -> None:
    if state.is_relationship_load or state.is_column_load:
        raise CrossShardUnsupported(
            "gather cannot merge an eager load: it asks one shard for related rows",
            hint='add .options(lazyload("*")), or joinedload() of a colocated or reference table',
        )


class FetchedRows:
    """A DBAPI connection (PEP 249, as far as SQLAlchemy needs it) that holds its answer."""

    def __init__(self) -> None:
        self.rows: Sequence[Row] = ()
        self.oids: Sequence[int] = ()

    def cursor(self) -> "FetchedCursor":
        return FetchedCursor(self)

    def commit(self) -> None:
        """Nothing was sent."""

    rollback = close = commit


class FetchedCursor:
    """The cursor of FetchedRows."""

    arraysize = 1
    rowcount = -1

    def __init__(self, connection: FetchedRows) -> None:
        self._connection = connection
        self.description: list[tuple[Any, ...]] | None = None

    def execute(self, query: str, parameters: Any = None) -> None:
        self.description = [
            (f"c{i}", oid, None, None, None, None, None)
            for i, oid in enumerate(self._connection.oids)
        ]

    def fetchall(self) -> list[Row]:
        return list(self._connection.rows)

    def close(self) -> None:
        self.description = None


def offline_engine() -> Engine:
    """Return an engine whose connections are FetchedRows."""
    dialect: Any = PGDialect_psycopg
    creator: Any = FetchedRows
    return Engine(NullPool(creator), dialect(dbapi=psycopg), make_url("postgresql+psycopg://"))


def load_instances(
    engine: Engine,
    statement: Select[Any],
    values: Mapping[str, Any],
    rows: Sequence[Row],
    oids: Sequence[int],
) -> list[Row]:
    """Return the rows as a session makes them of what one shard sent for a statement.

    The instances are detached. Raises CrossShardUnsupported when loading them takes a second
    statement.
    """
    with engine.connect() as connection:
        fetched: Any = connection.connection.dbapi_connection
        fetched.rows, fetched.oids = rows, oids
        with LoadingSession(connection, autoflush=False) as session:
            return [tuple(row) for row in session.execute(statement, values)]
