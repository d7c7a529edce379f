"""Keys written as text."""

# ruff: noqa: DTZ001 - datetimes without time zone are keys, too

from datetime import UTC, date, datetime, timedelta, timezone
from uuid import UUID

import pytest

from shardrouter.errors import ShardKeyInvalid
from shardrouter.topology import KeyType, parse_key


@pytest.mark.parametrize(
    ("key_type", "text", "value"),
    [
        (KeyType.INT2, "42", 42),
        (KeyType.INT4, "-0042", -42),
        (KeyType.INT8, "+9223372036854775807", 2**63 - 1),
        (KeyType.TEXT, " a b ", " a b "),
        (KeyType.TEXT, "", ""),
        (KeyType.VARCHAR, "日本語", "日本語"),
        (
            KeyType.UUID,
            "550E8400-e29b-41d4-a716-446655440000",
            UUID(int=0x550E8400E29B41D4A716446655440000),
        ),
        (KeyType.DATE, "2013-01-31", date(2013, 1, 31)),
        (KeyType.TIMESTAMP, "2013-01-31 05:17", datetime(2013, 1, 31, 5, 17)),
        (KeyType.TIMESTAMP, "2013-01-31T05:17:01.5", datetime(2013, 1, 31, 5, 17, 1, 500000)),
        (KeyType.TIMESTAMPTZ, "2013-01-31 05:17Z", datetime(2013, 1, 31, 5, 17, tzinfo=UTC)),
        (
            KeyType.TIMESTAMPTZ,
            "2013-01-31T05:17:00.000001-05:30",
            datetime(2013, 1, 31, 5, 17, 0, 1, timezone(-timedelta(hours=5, minutes=30))),
        ),
        (
            KeyType.TIMESTAMPTZ,
            "2013-01-31T05:17+02",
            datetime(2013, 1, 31, 5, 17, tzinfo=timezone(timedelta(hours=2))),
        ),
    ],
)
def test_plain_forms_are_read(key_type: KeyType, text: str, value: object) -> None:
    assert parse_key(key_type, text) == value


@pytest.mark.parametrize(
    ("key_type", "text"),
    [
        (KeyType.INT8, ""),
        (KeyType.INT8, "1.0"),
        (KeyType.INT8, "1_000"),
        (KeyType.INT8, " 1"),
        (KeyType.INT8, "\u0661"),
        (KeyType.INT8, "9" * 21),
        (KeyType.UUID, "550e8400e29b41d4a716446655440000"),
        (KeyType.UUID, "550e8400-e29b-41d4-a716-44665544000g"),
        (KeyType.DATE, "2013-02-30"),
        (KeyType.DATE, "20130131"),
        (KeyType.DATE, "infinity"),
        (KeyType.DATE, "2013-01-31T00:00"),
        (KeyType.TIMESTAMP, "2013-01-31"),
        (KeyType.TIMESTAMP, "-infinity"),
        (KeyType.TIMESTAMP, "2013-01-31T05:17Z"),
        (KeyType.TIMESTAMP, "2013-01-31T25:00"),
        (KeyType.TIMESTAMP, "2013-01-31T05:17:01.1234567"),
        (KeyType.TIMESTAMPTZ, "2013-01-31T05:17"),
        (KeyType.TIMESTAMPTZ, "infinity"),
        (KeyType.TIMESTAMPTZ, "2013-01-31T05:17+25:00"),
    ],
)
def test_other_forms_are_refused(key_type: KeyType, text: str) -> None:
    with pytest.raises(ShardKeyInvalid, match=f"not a key of type {key_type}") as caught:
        parse_key(key_type, text)
    assert parse_key(key_type, str(caught.value.hint).removeprefix("write it like ")) is not None
