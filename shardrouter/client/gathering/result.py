"""Give merged rows the face of an ordinary SQLAlchemy result."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Dialect, Result
from sqlalchemy.engine import IteratorResult
from sqlalchemy.engine.result import SimpleResultMetaData

from shardrouter.sql import ResultColumn

Row = tuple[Any, ...]


def make_result(
    columns: Sequence[ResultColumn], rows: Sequence[Row], oids: Sequence[int], dialect: Dialect
) -> Result[Any]:
    """Return a result over rows that are held in memory.

    ``oids`` are the types the server told, empty when SQLAlchemy has made the values already.
    """
    names = [column.name for column in columns]
    twice = frozenset(name for name, count in Counter(names).items() if count > 1)
    metadata = SimpleResultMetaData(
        names,
        extra=[tuple(x for x in column.lookups if not isinstance(x, str)) for column in columns],
        _ambiguous_keys=twice or None,
    )
    processed = _processed(columns, rows, oids, dialect) if oids else rows
    return IteratorResult(metadata, iter(processed))


def _processed(
    columns: Sequence[ResultColumn], rows: Sequence[Row], oids: Sequence[int], dialect: Dialect
) -> Sequence[Row]:
    """Return the rows with each column's type applied, as SQLAlchemy does on plain results."""
    processors = [
        column.type.dialect_impl(dialect).result_processor(dialect, oid)
        for column, oid in zip(columns, oids, strict=False)  # hidden columns come last
    ]
    if not any(processors):
        return rows
    return [
        tuple(
            value if process is None else process(value)
            for value, process in zip(row, processors, strict=True)
        )
        for row in rows
    ]
