"""The SQLAlchemy session of one unit of work. AsyncSession wraps the very same class."""

from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Engine, Insert, Table, event, true
from sqlalchemy.orm import Mapper, ORMExecuteState, Session, SessionTransaction
from sqlalchemy.sql.elements import BindParameter

from shardrouter.client.owned_rows import criteria, owned
from shardrouter.client.row_check import check_key, check_mark, check_object, refuse_write
from shardrouter.client.unit import UnitOfWork
from shardrouter.errors import RoutingError
from shardrouter.topology import TableKind, TableMark, mark_of

_UNSEEN: Final = object()
"""A key value that is computed on the server: left to the guard."""


class ShardSession(Session):
    """An ordinary SQLAlchemy 2 session on one shard.

    It chooses its node when a transaction starts and gives the connection back when it ends. A
    row of another slot raises WrongShardKey at flush, a write in a read session ReadOnlySession,
    both before any SQL is sent.
    """

    def __init__(self, bind: None = None, *, unit: UnitOfWork, **options: Any) -> None:
        super().__init__(**options)
        self.unit = unit

    def bulk_save_objects(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: SQLAlchemy's legacy bulk methods skip every check."""
        raise _legacy_refused("bulk_save_objects", "session.add_all(objects)")

    def bulk_insert_mappings(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: SQLAlchemy's legacy bulk methods skip every check."""
        raise _legacy_refused("bulk_insert_mappings", "session.execute(insert(Model), rows)")

    def bulk_update_mappings(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: SQLAlchemy's legacy bulk methods skip every check."""
        raise _legacy_refused("bulk_update_mappings", "session.execute(update(Model), rows)")

    def owned_rows(self, source: Any) -> ColumnElement[bool]:
        """Return the condition that a row is this shard's own, for Core statements.

        While slots move, a shard also holds rows that are on their way. Statements on mapped
        classes leave them out by themselves in sessions on a whole shard; those on a Table need
        ``.where(session.owned_rows(table))``, and text() cannot be helped. Connects, so that the
        condition is for the topology this transaction goes by.

        source: a mapped class, an ``aliased()`` one, a Table or its alias. Raises RoutingError
        when it is not sharded, CrossShardUnsupported when it is not registered.
        """
        self.connection()
        own = self.unit.own_rows()
        return true() if own is None else owned(source, own, self.unit.shard.id)

    def get_bind(self, *args: Any, **kwargs: Any) -> Engine | Connection:
        """Return the unit's connection, whatever the mapper: a session has one shard."""
        return self.unit.connection()


def _legacy_refused(method: str, instead: str) -> RoutingError:
    return RoutingError(f"session.{method} writes rows unchecked", hint=f"use {instead}")


@event.listens_for(ShardSession, "before_flush")
def _check_rows(session: ShardSession, context: Any, instances: Any) -> None:
    changed = [row for row in session.dirty if session.is_modified(row)]
    for instance in (*session.new, *session.deleted, *changed):
        if session.unit.read is not None:
            refuse_write(session.unit, f"a changed {type(instance).__name__}")
        check_object(session.unit, instance)


@event.listens_for(ShardSession, "do_orm_execute")
def _check_statement(state: ORMExecuteState) -> None:
    if not (state.is_insert or state.is_update or state.is_delete):
        return
    session = state.session
    assert isinstance(session, ShardSession)
    statement: Any = state.statement
    refuse_write(session.unit, f"{statement.__visit_name__.upper()} {statement.table}")
    mark = mark_of(statement.table.info) if isinstance(statement.table, Table) else None
    check_mark(session.unit, mark, str(statement.table))
    if state.is_insert and mark is not None and mark.kind is TableKind.SHARDED:
        names = _attribute_names(state.bind_mapper, statement.table, mark)
        for row in _rows_of(statement, state.parameters):
            key = [row.get(attribute, row.get(column, _UNSEEN)) for column, attribute in names]
            if _UNSEEN not in key:
                check_key(session.unit, str(statement.table), mark, key)


@event.listens_for(ShardSession, "do_orm_execute")
def _leave_strangers_out(state: ORMExecuteState) -> None:
    session = state.session
    assert isinstance(session, ShardSession)
    unit = session.unit
    if unit.slot is not None or state.is_column_load or state.is_relationship_load:
        return  # rows of one key; or rows of an instance, whose statement has the options already
    if state.is_select or state.is_update or state.is_delete:
        session.connection()  # only then it is known by which topology
        own = unit.own_rows()
        if own is not None:
            state.statement = state.statement.options(*criteria(state, own, unit.shard.id))


@event.listens_for(ShardSession, "after_transaction_end")
def _release(session: ShardSession, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.unit.release()


def _attribute_names(
    mapper: Mapper[Any] | None, table: Table, mark: TableMark
) -> list[tuple[str, str]]:
    """Return (column, attribute) of each key column: ORM rows are written by attribute name."""
    if mapper is None:
        return [(name, name) for name in mark.by]
    return [(name, mapper.get_property_by_column(table.c[name]).key) for name in mark.by]


def _rows_of(statement: Insert, parameters: Any) -> list[dict[str, Any]]:
    """Return the rows of an INSERT whose values are known on the client, by column name.

    What is computed on the server (INSERT ... SELECT, SQL expressions) is left to the guard.
    """
    if isinstance(parameters, dict):
        return [dict(parameters)]
    if parameters:
        return [dict(row) for row in parameters]
    rows: list[dict[str, Any]] = []
    if statement._values:
        rows.append(_plain(statement._values))
    for batch in statement._multi_values:
        rows.extend(_plain(row) for row in batch if isinstance(row, dict))
    return rows


def _plain(values: Any) -> dict[str, Any]:
    return {
        getattr(column, "key", column): value.value if isinstance(value, BindParameter) else value
        for column, value in values.items()
        if isinstance(value, BindParameter) or not hasattr(value, "__clause_element__")
    }
