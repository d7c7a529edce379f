"""A gathered answer is one that a plain Postgres with the same rows could have given."""

import math
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.gather_bed import GatherBed
from tests.support.gather_queries import (
    Query,
    data,
    distinct_queries,
    entity_queries,
    group_queries,
    join_queries,
    row_queries,
)
from tests.support.gather_tables import Thing

SETTINGS = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
QUERIES = st.lists(
    st.one_of(row_queries(), distinct_queries(), group_queries(), join_queries()),
    min_size=10,
    max_size=14,
)


@pytest.mark.parametrize("strangers", [False, True], ids=["at rest", "slots in motion"])
@SETTINGS
@given(data(), QUERIES)
def test_a_gather_answers_as_one_postgres(
    gather_bed: GatherBed, strangers: bool, rows: Any, queries: list[Query]
) -> None:
    gather_bed.load(*rows, strangers=strangers)
    for number, query in enumerate(queries):
        check(gather_bed, query, through_sqlalchemy=number % 4 == 0)


@pytest.mark.parametrize("strangers", [False, True], ids=["at rest", "slots in motion"])
@SETTINGS
@given(data(), st.lists(entity_queries(), min_size=3, max_size=5))
def test_mapped_classes_come_back_as_from_one_postgres(
    gather_bed: GatherBed, strangers: bool, rows: Any, queries: list[Query]
) -> None:
    gather_bed.load(*rows, strangers=strangers)
    for number, query in enumerate(queries):
        options = {"noted": True} if number % 3 == 0 else {}
        got = gather_bed.gather(query.statement.execution_options(**options)).scalars().all()
        expected = gather_bed.whole_entities(query.statement)
        assert [told(thing) for thing in got] == [told(thing) for thing in expected]


def check(bed: GatherBed, query: Query, *, through_sqlalchemy: bool) -> None:
    """Compare both answers; among ties any order and any choice by LIMIT is right.

    A statement with execution options takes another way to the shards than one without.
    """
    keys, expected = bed.whole(query.statement)
    options = {"noted": True} if through_sqlalchemy else {}
    result = bed.gather(query.statement.execution_options(**options))
    assert list(result.keys()) == keys
    got = [tuple(row) for row in result]
    assert len(got) == len(expected), query
    assert counted(got, query) <= counted(bed.whole(query.unlimited)[1], query), query
    if query.statement is query.unlimited:
        assert counted(got, query) == counted(expected, query), query
    for place in query.ordered_columns or ():
        ours, theirs = ([norm(row[place], loose=True) for row in rows] for rows in (got, expected))
        assert ours == theirs, query


def counted(rows: list[tuple[Any, ...]], query: Query) -> Counter[Any]:
    return Counter(
        tuple(norm(value, loose=i in query.loose) for i, value in enumerate(row)) for row in rows
    )


def norm(value: Any, *, loose: bool) -> Any:
    """Return a hashable stand-in that is equal for values that count as the same."""
    if isinstance(value, float):
        if math.isnan(value):
            return "nan"
        return (float, float(f"{value:.12g}") + 0.0 if loose else repr(value))
    if isinstance(value, Decimal):
        if value.is_nan():
            return "NaN"
        return (Decimal, value.normalize() if loose else str(value))
    return (type(value), repr(value))


def told(thing: Thing) -> list[Any]:
    return [norm(getattr(thing, c.key), loose=False) for c in Thing.__mapper__.column_attrs]
