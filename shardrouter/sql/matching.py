"""Whether two expressions of one statement are the same expression to Postgres."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BindParameter, ClauseElement

from shardrouter.sql.expressions import walk
from shardrouter.sql.select_parts import plain


def is_same(one: ClauseElement, other: ClauseElement) -> bool:
    """True for the same object or the same structure, labels aside.

    Structure counts only without parameters: to Postgres ``x + $1`` and ``x + $2`` differ, and
    their values may differ the next time the statement is run.
    """
    one, other = plain(one), plain(other)
    if one is other:
        return True
    return one.compare(other) and not any(isinstance(n, BindParameter) for n in walk(one))


def index_of(element: ClauseElement, candidates: Sequence[Any]) -> int | None:
    """Return the place of the first candidate that is the same expression, or None."""
    for index, candidate in enumerate(candidates):
        if is_same(element, candidate):
            return index
    return None
