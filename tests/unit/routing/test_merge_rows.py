"""The order of merged rows is that of Postgres: NULLs, NaN, ties, direction."""

from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import permutations
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from shardrouter.routing.merge import OrderKey, keeps_runs, order_natively, sort_key, window

UP, DOWN = OrderKey(False, False), OrderKey(True, True)
UP_NULLS_FIRST, DOWN_NULLS_LAST = OrderKey(False, True), OrderKey(True, False)
INT8, FLOAT8, NUMERIC, TIMESTAMPTZ, UUID_, BYTEA, DATE, BOOL, TEXT, BPCHAR, JSONB = (
    20, 701, 1700, 1184, 2950, 17, 1082, 16, 25, 1042, 3802,
)  # fmt: skip
NAN, D = float("nan"), Decimal


def merged(values: list[Any], key: OrderKey, type_oid: int = INT8) -> list[Any]:
    how = sort_key(type_oid, bytewise=True)
    assert how is not None
    return [values[i] for i in order_natively([values], [key], [how])]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (UP, [1, 2, None]),
        (UP_NULLS_FIRST, [None, 1, 2]),
        (DOWN, [None, 2, 1]),
        (DOWN_NULLS_LAST, [2, 1, None]),
    ],
)
def test_nulls_stand_where_they_were_asked_for(key: OrderKey, expected: list[Any]) -> None:
    for values in permutations(expected):
        assert merged(list(values), key) == expected


@pytest.mark.parametrize(
    ("type_oid", "ascending"),
    [
        (FLOAT8, [float("-inf"), -1.0, 0.0, 5e-324, float("inf"), NAN]),
        (NUMERIC, [D("-Infinity"), D("-1"), D("0.1"), D("1E+40"), D("Infinity"), D("NaN")]),
        (UUID_, [UUID(int=0), UUID(int=1), UUID(int=2**127), UUID(int=2**128 - 1)]),
        (BYTEA, [b"", b"\x00", b"\x00\x00", b"a", b"\xff"]),
        (DATE, [date.min, date(2024, 2, 29), date.max]),
        (BOOL, [False, True]),
        (TEXT, ["", "A", "B", "_", "a", "é", "日", "😀"]),
    ],
)
def test_each_type_is_ordered_as_by_postgres(type_oid: int, ascending: list[Any]) -> None:
    assert merged(ascending[::-1], UP, type_oid) == ascending
    assert merged(ascending, DOWN, type_oid) == ascending[::-1]


def test_values_that_count_as_equal_keep_their_order() -> None:
    assert [str(v) for v in merged([D("1.00"), D("1.0"), D("1")], UP, NUMERIC)] == [
        "1.00",
        "1.0",
        "1",
    ]
    assert [str(v) for v in merged([0.0, -0.0, 0.0], DOWN, FLOAT8)] == ["0.0", "-0.0", "0.0"]
    assert order_natively([[NAN, float("nan"), NAN], [3, 2, 1]], [UP, UP], _keys(FLOAT8, INT8)) == [
        2,
        1,
        0,
    ]


def test_instants_are_ordered_across_a_change_of_clocks() -> None:
    """02:15 before the clocks went back is earlier than 02:05 after it."""
    berlin = ZoneInfo("Europe/Berlin")
    first = datetime(2024, 10, 27, 0, 15, tzinfo=UTC).astimezone(berlin)
    later = datetime(2024, 10, 27, 1, 5, tzinfo=UTC).astimezone(berlin)
    assert first.replace(tzinfo=None) > later.replace(tzinfo=None)
    assert merged([later, first], UP, TIMESTAMPTZ) == [first, later]


def test_keys_count_from_the_most_significant() -> None:
    columns = [[1, 1, None, 1], ["b", "a", "z", None]]
    assert order_natively(columns, [DOWN, UP], _keys(INT8, TEXT)) == [2, 1, 0, 3]


@pytest.mark.parametrize("type_oid", [BPCHAR, JSONB, 1186, 869, 1083, 1009, 600, 123456])
def test_other_types_are_left_to_postgres(type_oid: int) -> None:
    assert sort_key(type_oid, bytewise=True) is None


@pytest.mark.parametrize("type_oid", [TEXT, 1043, 19])
def test_text_is_left_to_postgres_unless_its_collation_compares_bytes(type_oid: int) -> None:
    assert sort_key(type_oid, bytewise=False) is None


def test_runs_of_each_shard_must_stay_in_order() -> None:
    assert keeps_runs([0, 2, 1, 3], [2, 2])
    assert keeps_runs([2, 3, 0, 1], [2, 0, 2])
    assert not keeps_runs([1, 0, 2], [2, 1])
    assert not keeps_runs([0, 2, 1], [1, 2])
    assert keeps_runs([], [0, 0])


def test_window_cuts_offset_and_limit() -> None:
    rows = list(range(5))
    assert rows[window(5, 1, 2)] == [1, 2]
    assert rows[window(5, 0, 0)] == []
    assert rows[window(5, 9, 3)] == []
    assert rows[window(5, 3, None)] == [3, 4]


def _keys(*oids: int) -> list[Any]:
    return [sort_key(oid, bytewise=True) for oid in oids]
