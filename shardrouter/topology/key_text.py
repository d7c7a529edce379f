"""Read shard keys that come as text: from a command line or a SQL literal."""

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Final
from uuid import UUID

from shardrouter.errors import ShardKeyInvalid
from shardrouter.topology.table import KeyType

# Narrower than what Postgres and Python read: forms that both understand alike, and no more
# digits than a timestamp keeps, so that nobody has to round.
_INT: Final = re.compile(r"[+-]?[0-9]{1,20}")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME: Final = r"[ T][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
_TIMESTAMP: Final = re.compile(_DATE.pattern + _TIME)
_TIMESTAMPTZ: Final = re.compile(_DATE.pattern + _TIME + r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

_EXAMPLES: Final[Mapping[KeyType, str]] = {
    KeyType.INT2: "42",
    KeyType.INT4: "42",
    KeyType.INT8: "42",
    KeyType.UUID: "550e8400-e29b-41d4-a716-446655440000",
    KeyType.DATE: "2013-01-31",
    KeyType.TIMESTAMP: "2013-01-31T05:17:00",
    KeyType.TIMESTAMPTZ: "2013-01-31T05:17:00+00:00",
}


def parse_key(key_type: KeyType, text: str) -> object:
    """Return the Python value of a key written as text, for ``slot_of``.

    Raises ShardKeyInvalid when the text is not one value of that type written in the plain way,
    also for ``infinity``, which Python has no date for.
    """
    if key_type in (KeyType.TEXT, KeyType.VARCHAR):
        return text
    pattern, read = _READERS[key_type]
    if pattern.fullmatch(text):
        try:
            return read(text)
        except ValueError:
            pass  # no such day or hour
    raise ShardKeyInvalid(
        f"{text[:60]!r} is not a key of type {key_type}",
        hint=f"write it like {_EXAMPLES[key_type]}",
    )


_READERS: Final[Mapping[KeyType, tuple[re.Pattern[str], Callable[[str], object]]]] = {
    KeyType.INT2: (_INT, int),
    KeyType.INT4: (_INT, int),
    KeyType.INT8: (_INT, int),
    KeyType.UUID: (_UUID, UUID),
    KeyType.DATE: (_DATE, date.fromisoformat),
    KeyType.TIMESTAMP: (_TIMESTAMP, datetime.fromisoformat),
    KeyType.TIMESTAMPTZ: (_TIMESTAMPTZ, datetime.fromisoformat),
}
