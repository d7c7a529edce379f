"""Ask one shard through SQLAlchemy: the way of statements with execution options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Dialect, Executable, Select

from shardrouter.client.gathering.instances import LoadingSession
from shardrouter.client.gathering.result import Row
from shardrouter.routing.merge import REPORTED_SETTINGS


@dataclass(frozen=True, slots=True)
class ShardRows:
    """The rows of one shard as the driver made them: SQLAlchemy's types may change the order."""

    rows: Sequence[Row]
    oids: Sequence[int]
    """Type of each column; empty when the rows hold instances already."""

    settings: Sequence[str | None]
    """Values of REPORTED_SETTINGS."""

    dialect: Dialect


def ask_columns(
    connection: Connection,
    statement: Executable,
    values: Mapping[str, Any],
    options: Mapping[str, Any],
) -> ShardRows:
    """Return the rows of a statement."""
    result: Any = connection.execute(statement, values, execution_options=dict(options))
    oids = [column[1] for column in result.cursor.description]
    rows = result.cursor.fetchall()
    result.close()
    return ShardRows(rows, oids, settings_of(connection), connection.dialect)


def ask_entities(
    connection: Connection,
    statement: Select[Any],
    values: Mapping[str, Any],
    options: Mapping[str, Any],
) -> ShardRows:
    """Return rows of instances, loaded by a session of this shard and detached from it.

    Raises CrossShardUnsupported when loading them takes a second statement.
    """
    with LoadingSession(connection, autoflush=False) as session:
        result = session.execute(statement, values, execution_options=dict(options))
        rows = [tuple(row) for row in result]
    return ShardRows(rows, (), settings_of(connection), connection.dialect)


def settings_of(connection: Connection) -> list[str | None]:
    """Return what the server has told of the settings that matter to a merge."""
    driver: Any = connection.connection.driver_connection
    told = driver.info.parameter_status
    return [told(name) for name in REPORTED_SETTINGS]
