"""Random keys of each type, with the edges of the type among them."""

# ruff: noqa: DTZ001, DTZ901 - datetimes without time zone are keys, too

import random
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Final
from uuid import UUID

from shardrouter.topology import KeyType

_DAYS: Final = (date.max - date.min).days
_LETTERS: Final = "abcxyzÀßø ÿĀ\t\"'\\{},日本語한\U0001f600\U0010ffff\u0301"


def random_keys(key_type: KeyType, count: int, rng: random.Random) -> list[object]:
    """Return ``count`` keys of the type: its edges, then random values."""
    edges, make = _MAKERS[key_type]
    return [*edges, *(make(rng) for _ in range(count - len(edges)))]


def _integer(bits: int) -> tuple[list[object], Callable[[random.Random], object]]:
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1

    def make(rng: random.Random) -> object:
        # Of every length, not only the longest.
        value = rng.getrandbits(rng.randint(1, bits - 1))
        return value if rng.random() < 0.5 else ~value

    return [low, low + 1, -1, 0, 1, high - 1, high], make


def _text(rng: random.Random) -> object:
    return "".join(rng.choices(_LETTERS, k=rng.randrange(60)))


def _timestamp(rng: random.Random) -> datetime:
    # From day 2 to the last but one, so that no time zone leads out of Python's years.
    day = date.min + timedelta(days=rng.randrange(2, _DAYS - 1))
    return datetime(day.year, day.month, day.day) + timedelta(
        microseconds=rng.randrange(86_400_000_000)
    )


def _timestamptz(rng: random.Random) -> datetime:
    zone = timezone(timedelta(minutes=rng.randrange(-14 * 60, 14 * 60)))
    return _timestamp(rng).replace(tzinfo=zone)


_MAKERS: Final[Mapping[KeyType, tuple[list[object], Callable[[random.Random], object]]]] = {
    KeyType.INT2: _integer(16),
    KeyType.INT4: _integer(32),
    KeyType.INT8: _integer(64),
    KeyType.TEXT: (["", " ", "a", "NULL", "null", "x" * 5000, "é", "e\u0301"], _text),
    KeyType.VARCHAR: (["", "a "], _text),
    KeyType.UUID: ([UUID(int=0), UUID(int=2**128 - 1)], lambda rng: UUID(int=rng.getrandbits(128))),
    KeyType.DATE: (
        [date.min, date(1999, 12, 31), date(2000, 1, 1), date.max],
        lambda rng: date.min + timedelta(days=rng.randrange(_DAYS)),
    ),
    KeyType.TIMESTAMP: ([datetime.min, datetime(2000, 1, 1), datetime.max], _timestamp),
    KeyType.TIMESTAMPTZ: (
        [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)],
        _timestamptz,
    ),
}
