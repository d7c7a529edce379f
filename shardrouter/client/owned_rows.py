"""Conditions by which a session on a whole shard leaves out rows that are not the shard's own.

While slots move, a shard holds rows that are on their way to it, or have left. Statements on
mapped classes get these conditions by themselves (``session``); for others users add one.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Table, inspect
from sqlalchemy.orm import Mapper, ORMExecuteState, with_loader_criteria
from sqlalchemy.orm.util import LoaderCriteriaOption

from shardrouter.errors import RoutingError
from shardrouter.sql import OwnRows, key_names
from shardrouter.topology import ShardId


def owned(source: Any, own: OwnRows, shard: ShardId) -> ColumnElement[bool]:
    """Return the condition that a row of ``source`` is the shard's own.

    source: a mapped class, an ``aliased()`` one, a Table or an alias of a Table.
    Raises RoutingError when it is no sharded table, CrossShardUnsupported when it is not
    registered.
    """
    inspected: Any = inspect(source)
    if inspected.is_selectable:
        table = getattr(source, "element", source)
        names = key_names(table) if isinstance(table, Table) else ()
        by_name = {column.name: column for column in source.c}
        keys = [by_name[name] for name in names]
    else:
        table = inspected.mapper.local_table
        keys = [getattr(source, name) for name in _attributes(inspected.mapper)]
    if not keys:
        raise RoutingError(
            f"{source} is not a sharded table",
            shard=shard,
            hint="name a class or table marked with @sharded(by=...)",
        )
    return own.condition_on(shard, table, keys)


def criteria(state: ORMExecuteState, own: OwnRows, shard: ShardId) -> list[LoaderCriteriaOption]:
    """Return loader options by which a statement leaves out foreign rows of mapped classes.

    They apply to every class that the statement and its eager loads may come by.
    """
    return [
        with_loader_criteria(mapper.class_, owned(mapper.class_, own, shard), include_aliases=True)
        for mapper in _relatives(_mapper_of(state))
        if isinstance(mapper.local_table, Table)
        and key_names(mapper.local_table)
        and own.is_registered(mapper.local_table)
    ]


def _attributes(mapper: Mapper[Any]) -> list[str]:
    table = mapper.local_table
    names = key_names(table) if isinstance(table, Table) else ()
    by_name = {column.name: column for column in table.c}
    return [mapper.get_property_by_column(by_name[name]).key for name in names]


def _relatives(mapper: Mapper[Any] | None) -> Iterator[Mapper[Any]]:
    """Yield all mappers that may be related to one, a table once."""
    for other in () if mapper is None else mapper.registry.mappers:
        if other.inherits is None or other.inherits.local_table is not other.local_table:
            yield other


def _mapper_of(state: ORMExecuteState) -> Mapper[Any] | None:
    """Return one of the mappers in a statement, also of a UNION; None for one without."""
    if state.bind_mapper is not None:
        return state.bind_mapper
    pending: list[Any] = [state.statement]
    while pending:
        statement = pending.pop()
        for described in getattr(statement, "column_descriptions", ()):
            if described.get("entity") is not None:
                found: Mapper[Any] = inspect(described["entity"]).mapper
                return found
        pending.extend(getattr(statement, "selects", ()))
    return None
