"""Which Postgres types Python orders exactly as Postgres does, and how.

Only types whose order depends on nothing but the value are listed. Every other type (text under a
linguistic collation, enums, jsonb, inet, arrays, intervals ...) is ordered by a Postgres.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

SortKey = Callable[[Any], Any]
"""Turns a value, never None, into one whose Python order is the Postgres order."""

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)


def _plain(value: Any) -> Any:
    return value


def _nan_last(value: Any) -> Any:
    # Postgres: NaN equals NaN and is greater than every other value, also Infinity.
    return (True, 0) if value != value else (False, value)


def _instant(value: datetime) -> Any:
    # Two datetimes of one time zone compare by wall clock, wrongly when clocks are set back.
    return value - _EPOCH


NATIVE: Final[Mapping[int, SortKey]] = {
    16: _plain,  # boolean
    17: _plain,  # bytea
    20: _plain,  # bigint
    21: _plain,  # smallint
    23: _plain,  # integer
    26: _plain,  # oid
    700: _nan_last,  # real
    701: _nan_last,  # double precision
    1082: _plain,  # date
    1114: _plain,  # timestamp
    1184: _instant,  # timestamptz
    1700: _nan_last,  # numeric
    2950: _plain,  # uuid
}
"""Sort keys by type OID. Built-in OIDs are the same on every server."""

BYTEWISE_TEXT: Final = frozenset({19, 25, 1043})
"""name, text, varchar: code point order, when the collation compares bytes.

Not char(n): it ignores trailing blanks.
"""

TEXT: Final = frozenset({19, 25, 1042, 1043})
"""Types whose value is its own text, so that a cast to text would only lose the padding."""


def sort_key(type_oid: int, *, bytewise: bool) -> SortKey | None:
    """Return the sort key of a type, or None when only Postgres can order it.

    ``bytewise`` says that the column's collation compares bytes.
    """
    if bytewise and type_oid in BYTEWISE_TEXT:
        return _plain
    return NATIVE.get(type_oid)
