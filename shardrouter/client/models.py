"""Say of a declarative model how its table is spread: ``@sharded``, ``@reference``, ``@local``.

The mark lives in ``Table.info``, so that Core tables can carry it too::

    Table("orders", metadata, ..., info={MARK_KEY: TableMark(TableKind.SHARDED, ("user_id",))})
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Table
from sqlalchemy.orm import Mapper

from shardrouter.errors import SettingsError
from shardrouter.topology import MARK_KEY, TableKind, TableMark, mark_of

M = TypeVar("M", bound=type[Any])


def sharded(*, by: str | Sequence[str]) -> Callable[[M], M]:
    """Mark a model whose rows are spread by the named key column(s), in hashing order.

    Raises SettingsError when the model has no such column.
    """
    columns = (by,) if isinstance(by, str) else tuple(by)

    def mark(model: M) -> M:
        table = _table_of(model)
        missing = [name for name in columns if name not in table.c]
        if missing or not columns:
            raise SettingsError(
                f"{model.__name__} has no column {', '.join(missing) or '(none named)'}",
                hint=f'name columns of table {table.name}, for example @sharded(by="id")',
            )
        _put(table, TableMark(TableKind.SHARDED, columns))
        return model

    return mark


def reference(model: M) -> M:
    """Mark a model whose table has the same rows on every shard."""
    _put(_table_of(model), TableMark(TableKind.REFERENCE))
    return model


def local(*, shard: str) -> Callable[[M], M]:
    """Mark a model whose table stands on one shard only."""

    def mark(model: M) -> M:
        _put(_table_of(model), TableMark(TableKind.LOCAL, shard=shard))
        return model

    return mark


def mark_of_mapper(mapper: Mapper[Any]) -> TableMark | None:
    """Return the mark of the table a mapped class is stored in, or None."""
    table = mapper.local_table
    return mark_of(table.info) if isinstance(table, Table) else None


def _table_of(model: type[Any]) -> Table:
    table = getattr(model, "__table__", None)
    if not isinstance(table, Table):
        raise SettingsError(
            f"{model.__name__} has no table of its own",
            hint="put the mark on a declarative model, above the class statement",
        )
    return table


def _put(table: Table, mark: TableMark) -> None:
    known = mark_of(table.info)
    if known is not None and known != mark:
        raise SettingsError(
            f"table {table.name} is marked {known.kind} and {mark.kind}",
            hint="keep one of @sharded, @reference and @local",
        )
    table.info[MARK_KEY] = mark
