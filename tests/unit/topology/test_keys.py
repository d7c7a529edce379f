"""Which values are keys, which are refused and how; at both speeds."""

# ruff: noqa: DTZ001 - datetimes without time zone are keys, too

import enum
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from shardrouter.errors import RoutingError, ShardKeyInvalid, ShardKeyMissing
from shardrouter.topology import KeyType
from tests.support.twins import Twin

UUID_FOUR = UUID("550e8400-e29b-41d4-a716-446655440000")
AWARE = datetime(2013, 1, 1, 5, 17, tzinfo=UTC)


class Color(enum.StrEnum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 1


class Nowhere(tzinfo):
    def utcoffset(self, dt: datetime | None) -> timedelta | None:
        return None

    dst = utcoffset

    def tzname(self, dt: datetime | None) -> str | None:
        return None


class Name(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        (42, 2658),
        (-(2**63), 383),
        (2**63 - 1, 2678),
        ("", 2214),
        ("user:42", 1613),
        (Name("user:42"), 1613),
        ("日本語", 3262),
        (UUID_FOUR, 1481),
        ((42,), 2658),
        ((42, "user:42"), 355),
        (date(2000, 1, 1), 2480),
        (date(2000, 1, 2), 4024),
        (date(1999, 12, 31), 4005),
        (datetime(2000, 1, 1, 0, 0, 0, 42), 2658),
        (datetime(2000, 1, 1, 0, 2, 3, 456789, tzinfo=UTC), 973),
    ],
)
def test_key_slot(twin: Twin, key: object, slot: int) -> None:
    assert twin.keys.key_slot(key, 4096) == slot


@pytest.mark.parametrize(
    ("value", "key_type"),
    [
        (1, KeyType.INT8),
        ("a", KeyType.TEXT),
        (UUID_FOUR, KeyType.UUID),
        (date(2013, 1, 1), KeyType.DATE),
        (datetime(2013, 1, 1), KeyType.TIMESTAMP),
        (AWARE, KeyType.TIMESTAMPTZ),
    ],
)
def test_types_are_inferred(twin: Twin, value: object, key_type: KeyType) -> None:
    assert twin.keys.infer_key_types([value, 1]) == (key_type, KeyType.INT8)
    assert twin.keys.key_slot(value, 4096) == twin.keys.slot_of([key_type], [value], 4096)


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        (None, ShardKeyMissing, "is NULL"),
        ((1, None), ShardKeyMissing, "is NULL"),
        ((), ShardKeyMissing, "none was given"),
        (True, ShardKeyInvalid, "of type bool has no slot"),
        (1.0, ShardKeyInvalid, "of type float has no slot"),
        (Decimal(1), ShardKeyInvalid, "of type Decimal has no slot"),
        (b"a", ShardKeyInvalid, "of type bytes has no slot"),
        ([1], ShardKeyInvalid, "of type list has no slot"),
        ((1, (2,)), ShardKeyInvalid, "of type tuple has no slot"),
        (Color.RED, ShardKeyInvalid, "of type Enum has no slot"),
        (Size.BIG, ShardKeyInvalid, "of type Enum has no slot"),
        (object(), ShardKeyInvalid, "of type object has no slot"),
        (timedelta(1), ShardKeyInvalid, "of type timedelta has no slot"),
        (2**63, ShardKeyInvalid, "9223372036854775808 does not fit into int8"),
        ((1, -(2**63) - 1), ShardKeyInvalid, "does not fit into int8"),
        (10**200, ShardKeyInvalid, r"of \d+ bits does not fit into int8"),
        ("a\0b", ShardKeyInvalid, "NUL character at byte 1"),
        (("a\0b", 1), ShardKeyInvalid, "NUL character at byte 1"),
        ("a\ud800", ShardKeyInvalid, "lone surrogate"),
        (datetime(2013, 1, 1, tzinfo=Nowhere()), ShardKeyInvalid, "datetime with time zone"),
    ],
)
def test_what_has_no_slot_is_refused(
    twin: Twin, key: object, error: type[RoutingError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        twin.keys.key_slot(key, 4096)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("key_type", "value"),
    [
        (KeyType.INT2, 32768),
        (KeyType.INT2, -32769),
        (KeyType.INT4, 2**31),
        (KeyType.INT4, -(2**31) - 1),
        (KeyType.INT8, 2**63),
        (KeyType.INT8, True),
        (KeyType.INT8, 1.0),
        (KeyType.INT8, "1"),
        (KeyType.INT8, Size.BIG),
        (KeyType.TEXT, 1),
        (KeyType.TEXT, b"a"),
        (KeyType.TEXT, Color.RED),
        (KeyType.TEXT, UUID_FOUR),
        (KeyType.VARCHAR, "a\0"),
        (KeyType.UUID, UUID_FOUR.bytes),
        (KeyType.UUID, UUID_FOUR.hex),
        (KeyType.UUID, "{" + str(UUID_FOUR) + "}"),
        (KeyType.UUID, "not a uuid"),
        (KeyType.DATE, "2013-01-01"),
        (KeyType.DATE, datetime(2013, 1, 1)),
        (KeyType.DATE, "infinity"),
        (KeyType.TIMESTAMP, date(2013, 1, 1)),
        (KeyType.TIMESTAMP, AWARE),
        (KeyType.TIMESTAMP, "infinity"),
        (KeyType.TIMESTAMPTZ, datetime(2013, 1, 1)),
        (KeyType.TIMESTAMPTZ, "-infinity"),
    ],
)
def test_a_column_takes_only_its_values(twin: Twin, key_type: KeyType, value: object) -> None:
    with pytest.raises(ShardKeyInvalid) as caught:
        twin.keys.slot_of([key_type], [value], 4096)
    assert caught.value.hint


@pytest.mark.parametrize("key_type", list(KeyType))
def test_null_is_missing_in_every_type(twin: Twin, key_type: KeyType) -> None:
    with pytest.raises(ShardKeyMissing, match="NULL"):
        twin.keys.slot_of([key_type], [None], 4096)


@pytest.mark.parametrize("key_type", [KeyType.INT2, KeyType.INT4, KeyType.INT8])
def test_integers_of_every_width_share_slots(twin: Twin, key_type: KeyType) -> None:
    for value in (-32768, -1, 0, 42, 32767):
        assert twin.keys.slot_of([key_type], [value], 4096) == twin.keys.key_slot(value, 4096)


@pytest.mark.parametrize("written", [str(UUID_FOUR), str(UUID_FOUR).upper()])
def test_uuid_columns_take_canonical_text(twin: Twin, written: str) -> None:
    assert twin.keys.slot_of([KeyType.UUID], [written], 4096) == 1481


def test_one_instant_has_one_slot_in_all_zones(twin: Twin) -> None:
    zones = [timezone(timedelta(hours=14)), ZoneInfo("America/New_York")]
    slots = {twin.keys.key_slot(AWARE.astimezone(zone), 4096) for zone in [UTC, *zones]}
    assert len(slots) == 1


def test_the_repeated_hour_is_two_instants(twin: Twin) -> None:
    early = datetime(2013, 11, 3, 1, 30, tzinfo=ZoneInfo("America/New_York"))
    late = early.replace(fold=1)
    for local, utc_hour in ((early, 5), (late, 6)):
        utc = datetime(2013, 11, 3, utc_hour, 30, tzinfo=UTC)
        assert twin.keys.key_slot(local, 16384) == twin.keys.key_slot(utc, 16384)


def test_the_number_of_values_must_fit(twin: Twin) -> None:
    types = [KeyType.INT8, KeyType.TEXT]
    with pytest.raises(ShardKeyMissing, match="2 column"):
        twin.keys.slot_of(types, [1], 4096)
    with pytest.raises(ShardKeyInvalid, match="3 value"):
        twin.keys.slot_of(types, [1, "a", 2], 4096)
