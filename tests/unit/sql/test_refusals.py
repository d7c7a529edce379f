"""What cannot be merged is refused before anything is sent, by the name of its clause."""

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    case,
    column,
    delete,
    distinct,
    exists,
    func,
    insert,
    lambda_stmt,
    lateral,
    literal_column,
    select,
    table,
    text,
    true,
    union_all,
    values,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by, distinct_on
from sqlalchemy.orm import Bundle, aliased, joinedload
from sqlalchemy.schema import Sequence
from sqlalchemy.types import UserDefinedType

from shardrouter.errors import CrossShardUnsupported
from shardrouter.sql.split import split
from tests.support.gather_tables import Kind, Note, Part, Thing, Unmarked

T = Thing
inner = select(Part.thing_id).where(Part.n > 1)
a_cte = select(T.id).cte("recent")
a_label = T.i4.label("n")


class Wrapped(UserDefinedType[str]):
    """A type that puts a function around its columns."""

    cache_ok = True

    def get_col_spec(self) -> str:
        return "text"

    def column_expression(self, column: Any) -> Any:
        return func.upper(column)


class Odd(func.lower("x").__class__):  # type: ignore[misc]
    """A function construct of the user's own, which may compile to anything."""

    inherit_cache = True


odd_table = Thing.__table__.to_metadata(Thing.metadata.__class__(), name="odd")
odd_table.append_column(Column("w", Wrapped()))

REFUSED = {
    "window function": (select(func.rank().over(order_by=T.i4)), "a window function (OVER)"),
    "window in order by": (select(T.id).order_by(func.sum(T.i4).over()), "OVER) in ORDER BY"),
    "subquery in where": (select(T.id).where(T.id.in_(inner)), "a subquery in WHERE"),
    "scalar subquery": (
        select(select(func.max(Part.n)).scalar_subquery(), T.id),
        "a subquery in the select list",
    ),
    "exists": (select(T.id).where(exists(inner)), "a subquery in WHERE"),
    "subquery in from": (select(inner.subquery().c.thing_id), "a subquery in FROM"),
    "cte": (select(a_cte.c.id), "WITH in FROM"),
    "cte added": (select(T.id).add_cte(a_cte), "WITH"),
    "lateral": (select(T.id, lateral(inner).c.thing_id), "LATERAL in FROM"),
    "tablesample": (select(func.count(aliased(T, T.__table__.tablesample(5)).id)), "TABLESAMPLE"),
    "function in from": (
        select(func.generate_series(1, 3).table_valued("n").c.n),
        "a function in FROM",
    ),
    "values in from": (
        select(values(column("n", Integer), name="v").data([(1,)]).c.n),
        "VALUES in FROM",
    ),
    "bare table()": (select(table("thing", column("id")).c.id), "table() in FROM"),
    "union": (union_all(select(T.id), select(Part.id)), "UNION"),
    "text": (text("SELECT 1"), "text()"),
    "text columns": (text("SELECT id FROM thing").columns(T.id), "text()"),
    "text in where": (select(T.id).where(text("id > 1")), "text() in WHERE"),
    "text in order by": (select(T.id).order_by(text("id")), "text() in ORDER BY"),
    "literal column": (select(T.id).where(literal_column("id") > 1), "literal SQL text in WHERE"),
    "unknown column": (select(T.id).where(column("ctid") == "x"), "the column 'ctid' in WHERE"),
    "insert": (insert(Thing), "INSERT"),
    "delete": (delete(Thing), "DELETE"),
    "lambda": (lambda_stmt(lambda: select(T.id)), "lambda_stmt()"),
    "for update": (select(T.id).with_for_update(), "FOR UPDATE"),
    "fetch with ties": (select(T.id).order_by(T.i4).fetch(3, with_ties=True), "FETCH"),
    "distinct on": (select(T.id).ext(distinct_on(T.i4)), "DISTINCT ON"),
    "prefix": (select(T.id).prefix_with("ALL"), "a prefix"),
    "suffix": (select(T.id).suffix_with("FOR SHARE"), "a suffix"),
    "hint": (select(T.id).with_hint(T, "x"), "a hint"),
    "limit expression": (select(T.id).limit(func.length("abc")), "LIMIT with an expression"),
    "offset expression": (select(T.id).offset(literal_column("1")), "OFFSET with an expression"),
    "now()": (select(T.id).where(T.at < func.now()), "now() in WHERE"),
    "current_date": (select(func.current_date(), T.id), "current_date() in the select list"),
    "random()": (select(T.id).order_by(func.random()), "random() in ORDER BY"),
    "nextval": (select(Sequence("s").next_value(), T.id), "next_value() in the select list"),
    "own function": (select(T.id).where(func.my_rule(T.i4)), "my_rule() in WHERE"),
    "function of a schema": (select(func.app.lower(T.txt)), "lower() in the select list"),
    "own construct": (select(Odd("lower", T.txt)), "lower() in the select list"),
    "set-returning function": (select(func.unnest(T.nums)), "unnest() in the select list"),
    "unknown operator": (select(T.id).where(T.txt.op("<%>")("a")), "the operator <%> in WHERE"),
    "string_agg": (select(func.string_agg(T.txt, ",")), "string_agg()"),
    "array_agg": (select(func.array_agg(T.i4)), "array_agg()"),
    "stddev": (select(func.stddev(T.i4)), "stddev()"),
    "percentile": (
        select(func.percentile_cont(0.5).within_group(T.i4), T.uid).group_by(T.uid),
        "WITHIN GROUP",
    ),
    "ordered aggregate": (
        select(func.array_agg(aggregate_order_by(T.i4, T.id)), T.uid).group_by(T.uid),
        "ORDER BY in an aggregate",
    ),
    "rollup": (
        select(T.i4, func.count()).group_by(func.rollup(T.i4)),
        "ROLLUP, CUBE or GROUPING SETS",
    ),
    "grouping sets": (
        select(func.count()).group_by(func.cube(T.i4)),
        "ROLLUP, CUBE or GROUPING SETS",
    ),
    "filter and distinct": (
        select(func.count(distinct(T.i4)).filter(T.flag)),
        "FILTER on a DISTINCT aggregate",
    ),
    "not grouped": (select(T.i4, T.i8).group_by(T.i4), "column i8"),
    "not grouped in having": (select(T.i4).group_by(T.i4).having(T.i8 > 1), "column i8"),
    "grouped by another value": (select(T.i4 + 1).group_by(T.i4 + 2), "column i4"),
    "distinct and order by": (select(T.i4).distinct().order_by(T.i8), "ORDER BY thing.i8"),
    "unknown name in order by": (select(T.i4).order_by("i8"), 'ORDER BY "i8"'),
    "two columns of a name": (select(a_label, T.i8.label("n")).order_by("n"), 'ORDER BY "n"'),
    "unmarked table": (select(Unmarked.id), "table unmarked"),
    "local and sharded": (select(T.id).join(Note, Note.id == T.id), "JOIN note"),
    "cross join": (select(T.id, Part.id), "FROM"),
    "join on other columns": (select(T.id).join(Part, Part.thing_id == T.id), "JOIN part"),
    "join on inequality": (select(T.id).join(Part, Part.owner >= T.uid), "JOIN part"),
    "join on one of two": (
        select(T.id).join(Part, (Part.owner == T.uid) | (Part.thing_id == T.id)),
        "JOIN part",
    ),
    "self join": (select(aliased(T).id, T.id), "FROM"),
    "left join from reference": (
        select(Kind.id).outerjoin(T, T.kind_id == Kind.id),
        "LEFT JOIN thing",
    ),
    "full join with reference": (
        select(T.id).join(Kind, T.kind_id == Kind.id, full=True),
        "FULL JOIN kind",
    ),
    "left join with key in where": (
        select(T.id).outerjoin(Part, true()).where(Part.owner == T.uid),
        "LEFT JOIN part",
    ),
    "collection eager load": (select(T).options(joinedload(T.parts)), "joined eager loading"),
    "entities and aggregates": (select(T, func.count()).group_by(T.id), "mapped classes"),
    "bundle": (select(Bundle("b", T.id, T.i4)), "the select list"),
    "distinct reference entity": (
        select(Kind).join(T, T.kind_id == Kind.id).distinct(),
        "DISTINCT with mapped classes",
    ),
    "type with a column expression": (
        select(odd_table.c.w, func.count()).group_by(odd_table.c.w),
        "odd.w in GROUP BY",
    ),
    "several distinct arguments": (
        select(func.sum(distinct(T.i4), T.i8)),
        "DISTINCT ...) of several values",
    ),
    "case with a subquery": (
        select(case((T.i4 > 1, inner.scalar_subquery()), else_=0)),
        "a subquery in the select list",
    ),
}


@pytest.mark.filterwarnings("ignore:.*cartesian product.*")
@pytest.mark.parametrize(("statement", "clause"), REFUSED.values(), ids=REFUSED.keys())
def test_is_refused_by_name(statement: Any, clause: str) -> None:
    with pytest.raises(CrossShardUnsupported) as refused:
        split(statement, ())
    assert refused.value.message.startswith("gather cannot merge ")
    assert clause in refused.value.message
    assert refused.value.hint
    assert refused.value.sqlstate == "0A000"


def test_every_clause_that_is_not_known_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clause of a later SQLAlchemy must not slip through unseen."""
    statement = select(T.id)
    statement._qualify_clause = text("QUALIFY 1")  # type: ignore[attr-defined]
    known = type(statement)._traverse_internals
    monkeypatch.setattr(type(statement), "_traverse_internals", [*known, ("_qualify_clause", None)])
    with pytest.raises(CrossShardUnsupported, match="qualify_clause"):
        split(statement, ())
