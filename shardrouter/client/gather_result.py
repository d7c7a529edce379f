"""Give merged rows the face of an ordinary SQLAlchemy result."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import Result
from sqlalchemy.engine import IteratorResult
from sqlalchemy.engine.result import SimpleResultMetaData

from shardrouter.sql import ResultColumn

Row = tuple[Any, ...]
Processors = Sequence[Callable[[Any], Any] | None]


def make_result(columns: Sequence[ResultColumn], rows: Iterable[Row]) -> Result[Any]:
    """Return a result over rows that are held in memory."""
    names = [column.name for column in columns]
    twice = frozenset(name for name, count in Counter(names).items() if count > 1)
    metadata = SimpleResultMetaData(
        names,
        extra=[tuple(x for x in column.lookups if not isinstance(x, str)) for column in columns],
        _ambiguous_keys=twice or None,
    )
    return IteratorResult(metadata, iter(rows))


def processed(rows: Iterable[Row], processors: Processors) -> list[Row]:
    """Return the rows with each column's type applied, as SQLAlchemy does on plain results."""
    if not any(processors):
        return list(rows)
    return [
        tuple(
            value if process is None else process(value)
            for value, process in zip(row, processors, strict=True)
        )
        for row in rows
    ]
