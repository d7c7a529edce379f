"""Run one statement on one shard for a gather and bring back its rows, as the driver made them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Executable, Select, event
from sqlalchemy.orm import ORMExecuteState, Session

from shardrouter.client.gather_result import Processors, Row
from shardrouter.errors import CrossShardUnsupported
from shardrouter.routing.merge import REPORTED_SETTINGS
from shardrouter.sql import ResultColumn


@dataclass(frozen=True, slots=True)
class ShardRows:
    """The rows of one shard."""

    rows: Sequence[Row]
    oids: Sequence[int]
    """Type of each column; empty for rows of mapped classes."""

    processors: Processors
    """What SQLAlchemy does to the value of each result column; for mapped classes it is done."""

    settings: Sequence[str | None] = ()
    """Values of REPORTED_SETTINGS."""


def ask_columns(
    connection: Connection,
    statement: Executable,
    values: Mapping[str, Any],
    options: Mapping[str, Any],
    columns: Sequence[ResultColumn] = (),
) -> ShardRows:
    """Return the rows untouched by SQLAlchemy, whose types may change how values compare."""
    result: Any = connection.execute(statement, values, execution_options=dict(options))
    described = result.cursor.description
    oids = [column[1] for column in described]
    process = result.context.get_result_processor
    processors = [
        process(column.type, column.name, oid)
        for column, oid in zip(columns, oids, strict=False)  # hidden columns come last
    ]
    rows = result.cursor.fetchall()
    result.close()
    return ShardRows(rows, oids, processors, _settings(connection))


def ask_entities(
    connection: Connection,
    statement: Select[Any],
    values: Mapping[str, Any],
    options: Mapping[str, Any],
) -> ShardRows:
    """Return rows of instances, loaded by a session of this shard and detached from it.

    Raises CrossShardUnsupported when loading them takes a second statement.
    """
    with Session(connection, autoflush=False, expire_on_commit=False) as session:
        event.listen(session, "do_orm_execute", _refuse_second_load)
        result = session.execute(statement, values, execution_options=dict(options))
        return ShardRows([tuple(row) for row in result], (), (), _settings(connection))


def _settings(connection: Connection) -> list[str | None]:
    driver: Any = connection.connection.driver_connection
    return [driver.info.parameter_status(name) for name in REPORTED_SETTINGS]


def _refuse_second_load(state: ORMExecuteState) -> None:
    if state.is_relationship_load or state.is_column_load:
        raise CrossShardUnsupported(
            "gather cannot merge an eager load: it asks one shard for related rows",
            hint='add .options(lazyload("*")), or joinedload() of a colocated or reference table',
        )
