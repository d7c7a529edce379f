"""Answers that sharding proxies are known to get wrong, each compared with one plain Postgres."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Select, cast, distinct, func, literal, select, tuple_
from sqlalchemy.dialects.postgresql import INTERVAL, JSONB
from sqlalchemy.orm import with_loader_criteria
from sqlalchemy.types import REAL, Double, Text

from tests.support.gather_bed import GatherBed
from tests.support.gather_tables import Kind, Mood, Part, Thing

T = Thing
D = Decimal


def thing(id: int, uid: int, **values: Any) -> dict[str, Any]:
    unset = {column.key: None for column in Thing.__mapper__.column_attrs}
    return {**unset, "id": id, "uid": uid, **values}


def same(bed: GatherBed, statement: Select[Any]) -> list[tuple[Any, ...]]:
    """Return the gathered rows, which are those of one Postgres, to the last digit and type."""
    got = [tuple(row) for row in bed.gather(statement)]
    expected = bed.whole(statement)[1]
    assert [repr(row) for row in got] == [repr(row) for row in expected]
    return got


def test_a_list_of_keys_is_asked_of_all_their_shards(gather_bed: GatherBed) -> None:
    gather_bed.load([thing(i, i) for i in range(6)])
    rows = same(gather_bed, select(T.id).where(T.uid.in_([1, 3, 5])).order_by(T.id))
    assert rows == [(1,), (3,), (5,)]


def test_two_keys_joined_by_or_are_asked_of_both_shards(gather_bed: GatherBed) -> None:
    gather_bed.load([thing(i, i) for i in range(6)])
    assert (
        len(same(gather_bed, select(T.id).where((T.uid == 1) | (T.uid == 2)).order_by(T.id))) == 2
    )


def test_order_by_a_column_that_is_not_selected(gather_bed: GatherBed) -> None:
    gather_bed.load([thing(i, i, i4=-i) for i in range(9)])
    result = gather_bed.gather(select(T.id).order_by(T.i4))
    assert list(result.keys()) == ["id"]
    assert same(gather_bed, select(T.id).order_by(T.i4).limit(3)) == [(8,), (7,), (6,)]


def test_limit_is_of_the_answer_not_of_each_shard(gather_bed: GatherBed) -> None:
    gather_bed.load([thing(i, i) for i in range(9)])
    assert len(same(gather_bed, select(T.id).order_by(T.id).limit(2))) == 2
    assert same(gather_bed, select(T.id).order_by(T.id).limit(3).offset(4)) == [(4,), (5,), (6,)]
    assert same(gather_bed, select(T.id).order_by(T.id).limit(0)) == []
    assert same(gather_bed, select(T.id).order_by(T.id).offset(20)) == []
    assert len(gather_bed.gather(select(T.id).limit(4)).all()) == 4


def test_a_reference_table_is_not_multiplied(gather_bed: GatherBed) -> None:
    gather_bed.load([thing(i, i, kind_id=i % 2) for i in range(6)])
    assert same(gather_bed, select(func.count()).select_from(Kind)) == [(4,)]
    assert len(same(gather_bed, select(Kind.id).order_by(Kind.id))) == 4
    joined = select(T.id, Kind.name).outerjoin(Kind, Kind.id == T.kind_id + 2).order_by(T.id)
    assert len(same(gather_bed, joined)) == 6


def test_left_joins_keep_rows_without_a_match_once(gather_bed: GatherBed) -> None:
    gather_bed.load([thing(i, i) for i in range(6)], [{"id": 1, "owner": 4, "thing_id": 4, "n": 7}])
    joined = select(T.id, Part.n).outerjoin(Part, Part.owner == T.uid).order_by(T.id)
    assert [n for _, n in same(gather_bed, joined)] == [None, None, None, None, 7, None]


def test_aggregates_are_one_row(gather_bed: GatherBed) -> None:
    gather_bed.load([thing(i, i, i4=i, num=D(i)) for i in range(9)])
    query = select(func.count(), func.sum(T.i4), func.min(T.i4), func.max(T.num), func.avg(T.i4))
    assert same(gather_bed, query) == [(9, 36, 0, D(8), D("4.0000000000000000"))]


def test_aggregates_of_nothing(gather_bed: GatherBed) -> None:
    gather_bed.load([])
    query = select(func.count(), func.count(distinct(T.i4)), func.sum(T.i4), func.avg(T.f8))
    assert same(gather_bed, query) == [(0, 0, None, None)]
    assert same(gather_bed, select(func.count(), func.sum(distinct(T.i4)))) == [(0, None)]
    assert same(gather_bed, select(T.i4, func.count()).group_by(T.i4)) == []
    assert same(gather_bed, select(func.count()).select_from(T).having(func.count() > 0)) == []
    assert same(gather_bed, select(T.i4).distinct()) == []


def test_aggregates_where_only_one_shard_has_rows(gather_bed: GatherBed) -> None:
    gather_bed.load([thing(1, 1, i4=None, f8=2.0, span=timedelta(1))])
    same(gather_bed, select(func.count(T.i4), func.sum(T.i4), func.avg(T.f8), func.avg(T.span)))


def test_avg_is_of_all_rows_not_of_the_shards_averages(gather_bed: GatherBed) -> None:
    gather_bed.load([thing(0, 0, i4=10), thing(1, 1, i4=1), thing(4, 1, i4=1), thing(7, 1, i4=1)])
    assert same(gather_bed, select(func.avg(T.i4))) == [(D("3.2500000000000000"),)]


@pytest.mark.parametrize(
    "values",
    [
        [D("1"), D("2"), D("2")],
        [D("0.10"), D("0.2000"), D("1e-20")],
        [D("1e40"), D("3"), D("-7.5")],
        [D("NaN"), D("1"), D("2")],
        [D("Infinity"), D("-Infinity"), D("1")],
        [D("-0.00"), D("0.000"), D("0")],
    ],
)
def test_numeric_sums_and_means_have_the_digits_of_postgres(
    gather_bed: GatherBed, values: Sequence[Decimal]
) -> None:
    gather_bed.load([thing(i, i, num=value) for i, value in enumerate(values)])
    same(gather_bed, select(func.sum(T.num), func.avg(T.num), func.sum(T.num) / func.count()))


def test_sums_of_integers_keep_the_type_of_postgres(gather_bed: GatherBed) -> None:
    """sum(int) is bigint, sum(bigint) is numeric: beyond 64 bits it must not wrap or fail."""
    gather_bed.load([thing(i, i, i2=32767, i4=2**31 - 1, i8=2**63 - 1) for i in range(6)])
    query = select(func.sum(T.i2), func.sum(T.i4), func.sum(T.i8), func.avg(T.i8))
    [row] = same(gather_bed, query)
    assert row[:3] == (6 * 32767, 6 * (2**31 - 1), D(6 * (2**63 - 1)))


def test_floats_are_added_in_double_precision(gather_bed: GatherBed) -> None:
    gather_bed.load([thing(i, i, f8=0.5 * i, f4=0.25 * i) for i in range(7)])
    same(gather_bed, select(func.sum(T.f8), func.avg(T.f8), func.sum(T.f4), func.avg(T.f4)))
    same(gather_bed, select(func.avg(cast(T.f8, REAL).cast(Double))))


def test_a_mean_that_is_smaller_than_any_float(gather_bed: GatherBed) -> None:
    gather_bed.load([thing(0, 0, f8=5e-324), thing(1, 1, f8=0.0), thing(2, 2, f8=0.0)])
    same(gather_bed, select(func.avg(T.f8)))


def test_intervals_keep_sign_months_and_justification(gather_bed: GatherBed) -> None:
    gather_bed.load([thing(i, i, txt=t) for i, t in enumerate(["1 mon", "-3 days", "-00:00:01"])])
    span = cast(T.txt, INTERVAL)
    same(gather_bed, select(*(cast(f, Text) for f in (func.sum(span), func.avg(span)))))
    same(gather_bed, select(cast(func.min(span), Text), cast(func.max(span), Text)))
    rows = same(gather_bed, select(T.txt).order_by(span))
    assert rows == [("-3 days",), ("-00:00:01",), ("1 mon",)]


def test_nulls_first_and_last_in_both_directions(gather_bed: GatherBed) -> None:
    gather_bed.load(
        [thing(i, i, i4=None if i % 2 else i, txt=None if i % 3 else "x") for i in range(9)]
    )
    for first in (T.i4, T.i4.desc(), T.i4.nulls_first(), T.i4.desc().nulls_last()):
        same(gather_bed, select(T.id, T.i4).order_by(first, T.id))
        same(gather_bed, select(T.id, T.txt).order_by(T.txt.desc().nulls_last(), first, T.id))


def test_minus_zero_and_nan_among_floats(gather_bed: GatherBed) -> None:
    values = [0.0, -0.0, float("nan"), None, float("-inf"), 1.0]
    gather_bed.load([thing(i, i, f8=v) for i, v in enumerate(values)])
    same(gather_bed, select(T.id, T.f8).order_by(T.f8, T.id))
    same(gather_bed, select(T.id).order_by(T.f8.desc(), T.id))
    assert len(gather_bed.gather(select(T.f8).distinct()).all()) == 5


def test_enums_are_ordered_by_their_declaration(gather_bed: GatherBed) -> None:
    gather_bed.load([thing(i, i, mood=mood) for i, mood in enumerate(Mood)])
    assert same(gather_bed, select(T.mood).order_by(T.mood.desc())) == [
        (Mood.awful,), (Mood.cloudy,), (Mood.sunny,),
    ]  # fmt: skip
    assert same(gather_bed, select(func.min(T.mood))) == [(Mood.sunny,)]


def test_addresses_are_ordered_as_addresses(gather_bed: GatherBed) -> None:
    hosts = ["10.0.0.1", "9.255.0.1", "100.0.0.1", "::1", "10.0.0.0/8", "2.0.0.1"]
    gather_bed.load([thing(i, i, host=host) for i, host in enumerate(hosts)])
    same(gather_bed, select(T.host).order_by(T.host))
    same(gather_bed, select(func.max(T.host)))


def test_padded_text_ignores_its_padding(gather_bed: GatherBed) -> None:
    gather_bed.load([thing(i, i, pad=pad) for i, pad in enumerate(["b", "a", "a  ", "ab", "B"])])
    same(gather_bed, select(T.pad, T.id).order_by(T.pad, T.id))
    assert same(gather_bed, select(T.pad, func.count()).group_by(T.pad).order_by(T.pad))[1] == (
        "a     ",
        2,
    )


def test_numbers_of_other_scale_are_one_group(gather_bed: GatherBed) -> None:
    gather_bed.load(
        [thing(i, i, num=n) for i, n in enumerate([D("1"), D("1.0"), D("1.00"), D("2")])]
    )
    grouped = select(T.num, func.count()).group_by(T.num).order_by(T.num)
    assert [tuple(row) for row in gather_bed.gather(grouped)] == [(D(1), 3), (D(2), 1)]
    assert len(gather_bed.gather(select(T.num).distinct()).all()) == 2
    assert same(gather_bed, select(func.count(distinct(T.num)))) == [(2,)]


def test_distinct_leaves_nothing_behind_for_the_next_query(gather_bed: GatherBed) -> None:
    gather_bed.load([thing(i, i, i4=1) for i in range(6)])
    assert same(gather_bed, select(T.i4).distinct()) == [(1,)]
    assert len(same(gather_bed, select(T.i4))) == 6


def test_group_by_an_expression(gather_bed: GatherBed) -> None:
    gather_bed.load([thing(i, i, i4=i, txt="aBc"[i % 3]) for i in range(12)])
    rest = (T.i4 % 5).label("rest")
    same(gather_bed, select(rest, func.count()).group_by(rest).order_by(rest.desc()))
    same(gather_bed, select(rest, func.count()).group_by("rest").order_by(func.count(), "rest"))
    low = func.lower(T.txt)
    same(gather_bed, select(low, func.max(T.i4)).group_by(func.lower(T.txt)).order_by(low))
    same(gather_bed, select(low + "!", literal(3)).group_by(low).order_by(low))


def test_having_and_order_by_on_aggregates(gather_bed: GatherBed) -> None:
    gather_bed.load([thing(i, i, i4=i, txt="abcab"[i % 5]) for i in range(17)])
    total = func.sum(T.i4)
    query = select(T.txt).group_by(T.txt).having(total > 10).order_by(total.desc(), T.txt).limit(2)
    assert same(gather_bed, query) == [("b",), ("a",)]
    for floor in (30, 31, 1000):  # the same statement with other values
        same(gather_bed, select(T.txt).group_by(T.txt).having(total > floor).order_by(T.txt))


def test_instants_around_a_change_of_clocks(gather_bed: GatherBed) -> None:
    hours = [datetime(2024, 10, 27, h, 30, tzinfo=UTC) for h in (2, 0, 1)]
    gather_bed.load([thing(i, i, at=at, day=date(2024, 10, 27)) for i, at in enumerate(hours)])
    assert same(gather_bed, select(T.id).order_by(T.at)) == [(1,), (2,), (0,)]


def test_words_are_ordered_by_their_collation(gather_bed: GatherBed) -> None:
    words = ["b", "B", "a", "A", "ab", "Ab", "a-b", "é", "z", "Z", ""]
    gather_bed.load([thing(i, i, words=w, txt=w) for i, w in enumerate(words)])
    for column in (T.words, T.txt, T.txt.collate("bed_words"), T.words.collate("C")):
        same(gather_bed, select(T.id).order_by(column.desc(), T.id))
    same(gather_bed, select(func.min(T.words), func.max(T.words), func.max(T.txt)))
    same(gather_bed, select(T.words).distinct().order_by(T.words).limit(4))


def test_conditions_added_to_a_mapped_class_hold_on_every_shard(gather_bed: GatherBed) -> None:
    """Also where the statement is nested in the one that is sent."""
    gather_bed.load([thing(i, i, i4=i, txt="ab"[i % 2]) for i in range(12)])
    for low in (3, 7):
        criteria = with_loader_criteria(Thing, lambda cls: cls.i4 > low)  # noqa: B023
        count = select(func.count(T.id)).options(criteria)
        assert gather_bed.gather(count).scalar() == 11 - low
        ids = select(T.id).options(criteria).order_by(T.id)
        assert gather_bed.gather(ids).scalars().all() == list(range(low + 1, 12))
        grouped = select(T.txt).options(criteria).distinct().order_by(T.txt)
        assert gather_bed.gather(grouped).scalars().all() == ["a", "b"]
        instances = gather_bed.gather(select(T).options(criteria).order_by(T.id)).scalars()
        assert [one.id for one in instances] == list(range(low + 1, 12))


def test_values_of_every_type_as_parameters(gather_bed: GatherBed) -> None:
    pools = {
        "txt": ["50%", "a:b", "$1"], "num": [D("1.50"), D("NaN")], "i8": [2**63 - 1],
        "day": [date(2024, 2, 29)], "at": [datetime(2024, 1, 1, tzinfo=UTC)],
        "span": [timedelta(days=3)], "uu": [UUID(int=5)], "raw": [b"\x00%"],
        "mood": list(Mood), "doc": [{"a": 1}, [1, 2]], "host": ["10.0.0.1"],
        "nums": [[1, 2], []], "flag": [True], "f8": [1.5, float("inf")],
    }  # fmt: skip
    rows = [{name: pool[i % len(pool)] for name, pool in pools.items()} for i in range(9)]
    gather_bed.load([thing(i, i, **row) for i, row in enumerate(rows)])
    for condition in (
        T.txt.in_(["50%", "$1", "'"]),
        T.txt.like("%\\%"),
        T.txt.contains("%", autoescape=True),
        T.id % 2 == 1,
        T.num.in_([D("1.5"), D("NaN")]),
        T.day.between(date(2024, 1, 1), date(2024, 12, 31)),
        T.at >= datetime(2024, 1, 1, tzinfo=UTC),
        T.span > timedelta(days=1),
        T.uu == UUID(int=5),
        T.raw == b"\x00%",
        T.mood.in_([Mood.awful, Mood.cloudy]),
        T.doc.contains({"a": 1}),
        T.doc[0] == literal(1, JSONB),
        T.host == "10.0.0.1",
        T.nums.contains([2]),
        T.nums == [],
        T.flag.is_(True),
        T.f8 == float("inf"),
        tuple_(T.i8, T.txt).in_([(2**63 - 1, "a:b")]),
        T.id.in_([]),
    ):
        query = select(T.id).where(condition).order_by(T.id)
        assert same(gather_bed, query) == same(gather_bed, query.execution_options(noted=True))
