"""Random rows and random SELECTs for comparing gathered answers with one Postgres."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from sqlalchemy import Double, Select, Text, and_, cast, distinct, func, not_, or_, select, tuple_
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.orm import aliased

from tests.support.gather_tables import Kind, Mood, Part, Thing

D = Decimal
NAN = float("nan")
_POOLS: dict[str, list[Any]] = {
    "kind_id": [0, 1, 2, 3],
    "txt": ["", "a", "B", "b", "Z", "é", "e\u0301", "ß", "日本", "😀", "a b", "A", "_", "'\"\\%:x"],
    "words": ["a", "B", "b", "A", "ab", "Ab", "é", "z", "Z", "a-b", "a b", "ab!"],
    "pad": ["a", "a ", "b", "ab", "B"],
    "i2": [-32768, -1, 0, 1, 32767],
    "i4": [-(2**31), -7, 0, 1, 2, 3, 7, 2**31 - 1],
    "i8": [-(2**63), -5, 0, 3, 2**40, 2**63 - 1],
    "num": [
        D("0"), D("0.0000"), D("1"), D("1.0"), D("1.00"), D("-2.5"), D("1e30"), D("1e-30"),
        D("NaN"), D("Infinity"), D("-Infinity"), D("12345678901234567890.123456789"), D("3"),
    ],
    "num2": [D("0.001"), D("1.500"), D("-99999999999.999"), D("7"), D("2.333")],
    "f8": [0.0, -0.0, 0.5, -1.25, 1e150, 5e-324, NAN, float("inf"), float("-inf"), 3.0],
    "f4": [0.0, -0.0, 0.5, 1.5, NAN, 0.1],
    "flag": [True, False],
    "day": [date(1, 1, 1), date(1970, 1, 1), date(2024, 2, 29), date(9999, 12, 31)],
    "at": [
        datetime(1, 1, 2, tzinfo=UTC), datetime(2024, 10, 27, 0, 30, tzinfo=UTC),
        datetime(2024, 10, 27, 1, 30, tzinfo=UTC), datetime(2024, 10, 27, 1, 30, 0, 1, tzinfo=UTC),
    ],
    "clock": [time(0), time(12, 30), time(23, 59, 59, 999999)],
    "span": [timedelta(0), timedelta(hours=24), timedelta(days=1), timedelta(days=-3, seconds=5),
             timedelta(microseconds=1), timedelta(days=40)],
    "uu": [UUID(int=0), UUID(int=1), UUID(int=2**127), UUID(int=2**128 - 1)],
    "raw": [b"", b"\x00", b"\x00\x01", b"a", b"\xff"],
    "mood": list(Mood),
    "doc": [1, "a", [1, 2], {"a": 1}, {"a": None}, True, [], {}],
    "host": ["10.0.0.1", "10.0.0.0/8", "9.255.0.1", "::1", "fe80::1", "100.0.0.1"],
    "nums": [[], [1], [1, 2], [None, 1], [10], [2]],
}  # fmt: skip
COLUMNS = tuple(_POOLS)
ORDERED = COLUMNS
_MINMAX = tuple(c for c in COLUMNS if c not in ("flag", "uu", "doc", "raw"))
_EXACT_SUM = ("i2", "i4", "i8", "num", "num2", "span")


def data() -> st.SearchStrategy[tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
    """Rows of Thing and Part: few or many, with many equal values and NULLs."""
    return st.builds(_rows, st.integers(0, 2**32), st.sampled_from([0, 1, 6, 30, 60, 60]))


def _rows(seed: int, count: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    rng = Random(seed)
    things: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for i in range(count):
        row = {n: None if rng.random() < 0.15 else rng.choice(p) for n, p in _POOLS.items()}
        things.append({"id": i, "uid": rng.randrange(9), **row})
        if rng.random() < 0.5:
            thing = rng.choice(things)
            n = rng.choice([None, -1, 0, 1, 2])
            parts.append({"id": i, "owner": thing["uid"], "thing_id": thing["id"], "n": n})
    return things, parts


@dataclass(frozen=True, slots=True, repr=False)
class Query:
    """A statement and how its answer may be compared."""

    statement: Select[Any]
    ordered_columns: tuple[int, ...] | None
    """Columns by which the answer is ordered; the rest may differ among ties."""

    unlimited: Select[Any]
    """The same without OFFSET and LIMIT."""

    def __repr__(self) -> str:
        return str(self.statement.compile(dialect=PGDialect_psycopg()))

    loose: frozenset[int] = frozenset()
    """Columns where any of several equal values is right (1.0 or 1.00), or floats were added."""


def _conditions() -> st.SearchStrategy[Any]:
    t = Thing
    return st.sampled_from([
        None,
        None,
        t.i4 > 0,
        t.txt.in_(["a", "b", "é"]),
        or_(t.num.is_(None), t.num >= D("1.0")),
        and_(t.f8 == t.f8, not_(t.flag.is_(True))),
        t.txt.like("%a%"),
        func.coalesce(t.i2, 0).between(-1, 1),
        t.uid == 3,
        t.uid == 99,
        t.mood.in_([Mood.sunny, Mood.awful]),
        func.lower(t.words) == "ab",
        t.doc["a"].astext == "1",
        tuple_(t.uid, t.i4).in_([(1, 0), (2, 1), (3, 7)]),
        t.nums.contains([1]),
    ])  # fmt: skip


def _direct(draw: st.DrawFn, expression: Any) -> Any:
    directed = draw(st.sampled_from([lambda e: e, lambda e: e.asc(), lambda e: e.desc()]))(
        expression
    )
    return draw(
        st.sampled_from([lambda e: e, lambda e: e.nulls_first(), lambda e: e.nulls_last()])
    )(directed)


def _cut(draw: st.DrawFn, statement: Select[Any]) -> Select[Any]:
    limit = draw(st.none() | st.integers(0, 12))
    offset = draw(st.none() | st.integers(0, 6))
    return statement.limit(limit).offset(offset)


@st.composite
def row_queries(draw: st.DrawFn) -> Query:
    """Rows as they are, ordered by columns and expressions inside and outside the list."""
    names = draw(st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=5))
    columns = [getattr(Thing, name).label(f"c{i}") for i, name in enumerate(names)]
    statement: Select[Any] = select(*columns, Thing.id)
    condition = draw(_conditions())
    if condition is not None:
        statement = statement.where(condition)
    if draw(st.booleans()):
        statement = statement.join(Kind, Kind.id == Thing.kind_id, isouter=draw(st.booleans()))
    if draw(st.booleans()):
        ordered = draw(st.lists(st.integers(0, len(names) - 1), min_size=1, max_size=3))
        statement = statement.order_by(*(_direct(draw, columns[i]) for i in ordered))
        return Query(_cut(draw, statement), tuple(ordered), statement)
    keys: list[Any] = [getattr(Thing, name) for name in draw(st.lists(st.sampled_from(ORDERED)))]
    keys += draw(st.lists(st.sampled_from([Thing.i4 % 3, func.length(Thing.txt), -Thing.f8])))
    statement = statement.order_by(*(_direct(draw, key) for key in keys), Thing.id)
    return Query(_cut(draw, statement), tuple(range(len(names) + 1)), statement)


@st.composite
def distinct_queries(draw: st.DrawFn) -> Query:
    """Plain DISTINCT."""
    names = draw(st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=2, unique=True))
    columns = [getattr(Thing, name).label(f"c{i}") for i, name in enumerate(names)]
    statement: Select[Any] = select(*columns).distinct()
    condition = draw(_conditions())
    if condition is not None:
        statement = statement.where(condition)
    loose = frozenset(range(len(names)))
    if not draw(st.booleans()):
        return Query(statement, None, statement, loose)
    ordered = tuple(draw(st.permutations(range(len(names)))))
    statement = statement.order_by(*(_direct(draw, columns[i]) for i in ordered))
    return Query(_cut(draw, statement), ordered, statement, loose)


def _aggregates() -> list[tuple[Any, bool]]:
    t = Thing
    exact: list[Any] = [
        func.count(),
        func.count(t.txt),
        func.count(distinct(t.words)),
        func.count(distinct(t.num)),
        func.count(t.i4.distinct()),
        func.count().filter(t.i4 > 0),
        func.sum(t.i4).filter(t.flag.is_(True)),
        func.sum(distinct(t.i4)),
        func.bool_or(t.flag),
        func.bool_and(t.flag),
        func.coalesce(func.sum(t.i4), 0) + func.count(),
        func.sum(t.i4) / func.nullif(func.count(), 0),
        func.round(func.avg(t.num2), 2),
        func.avg(t.span),
        *(func.sum(getattr(t, name)) for name in _EXACT_SUM),
        *(func.avg(getattr(t, name)) for name in ("i2", "i4", "i8", "num", "num2")),
    ]
    loose = [func.min(getattr(t, n)) for n in _MINMAX] + [func.max(getattr(t, n)) for n in _MINMAX]
    loose += [func.avg(distinct(t.f8)), func.avg(t.f8), func.sum(t.f8), func.avg(t.f4)]
    loose += [func.sum(cast(t.f4, Double)), func.greatest(func.max(t.num), D("1.0"))]
    return [(e, False) for e in exact] + [(e, True) for e in loose]


def _group_keys() -> list[Any]:
    columns: list[Any] = [getattr(Thing, name) for name in COLUMNS]
    return [
        *columns,
        Thing.uid,
        func.lower(Thing.txt),
        Thing.i4 / func.nullif(Thing.i2, 0),
        Thing.doc["a"].astext,
    ]


@st.composite
def group_queries(draw: st.DrawFn) -> Query:
    """Aggregates, with or without GROUP BY and HAVING."""
    keys = draw(st.lists(st.sampled_from(_group_keys()), max_size=2, unique_by=str))
    labels = [key.label(f"k{i}") for i, key in enumerate(keys)]
    chosen = draw(st.lists(st.sampled_from(_aggregates()), min_size=1, max_size=4))
    values = [value.label(f"v{i}") for i, (value, _) in enumerate(chosen)]
    statement: Select[Any] = select(*labels, *values).group_by(*labels)
    if not keys:
        statement = statement.select_from(Thing)
    condition = draw(_conditions())
    if condition is not None:
        statement = statement.where(condition)
    having = draw(st.none() | st.sampled_from([func.count() > 1, func.sum(Thing.i4) >= 0]))
    if having is not None:
        statement = statement.having(having)
    loose = frozenset(range(len(keys))) | {
        len(keys) + i for i, (_, is_loose) in enumerate(chosen) if is_loose
    }
    order: list[Any] = [func.count(), func.max(Thing.i4)] if draw(st.booleans()) else []
    if not keys:
        return Query(statement, None, statement, loose)
    statement = statement.order_by(*(_direct(draw, e) for e in [*order, *labels]))
    return Query(_cut(draw, statement), tuple(range(len(keys))), statement, loose)


@st.composite
def join_queries(draw: st.DrawFn) -> Query:
    """Joins of colocated and reference tables."""
    part: Any = aliased(Part) if draw(st.booleans()) else Part
    on = and_(part.owner == Thing.uid, part.thing_id == Thing.id)
    statement: Select[Any] = select(Thing.id, part.id, part.n, Kind.name)
    statement = statement.join(part, on, isouter=draw(st.booleans()), full=draw(st.booleans()))
    statement = statement.join(Kind, Kind.id == Thing.kind_id, isouter=True)
    condition = draw(_conditions())
    if condition is not None:
        statement = statement.where(condition)
    if draw(st.booleans()):
        grouped: Select[Any] = statement.with_only_columns(
            Kind.name, func.count(part.id), func.sum(part.n), maintain_column_froms=True
        )
        grouped = grouped.group_by(Kind.name).order_by(Kind.name.nulls_first())
        return Query(_cut(draw, grouped), (0,), grouped)
    statement = statement.order_by(part.n.desc(), Thing.id, part.id)
    return Query(_cut(draw, statement), (0, 1, 2), statement)


@st.composite
def entity_queries(draw: st.DrawFn) -> Query:
    """Mapped classes, ordered by anything."""
    keys = draw(st.lists(st.sampled_from(ORDERED), max_size=3))
    statement: Select[Any] = select(Thing)
    if draw(st.booleans()):
        statement = statement.order_by(cast(Thing.txt, Text).collate("C"))
    statement = statement.order_by(*(_direct(draw, getattr(Thing, k)) for k in keys), Thing.id)
    return Query(_cut(draw, statement), None, statement)
