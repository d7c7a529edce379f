"""How a statement is split: what the shards are asked and what comes back to one of them."""

import re
from typing import Any

from sqlalchemy import Select, distinct, func, select
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from shardrouter.routing.merge import ColumnFacts
from shardrouter.sql import ROW_BOUND, GroupsSplit, RowsSplit, cache_key
from shardrouter.sql.split import split
from tests.support.gather_tables import Kind, Part, Thing

T = Thing


def facts(type_name: str, oid: int = 0, collation: str | None = None) -> ColumnFacts:
    return ColumnFacts(oid, type_name, None, collation, (), bytewise=False)


def sql(statement: Select[Any]) -> str:
    return re.sub(r"\s+", " ", str(statement.compile(dialect=PGDialect_psycopg())))


def rows(statement: Select[Any]) -> RowsSplit:
    how = split(statement, ()).how
    assert isinstance(how, RowsSplit)
    return how


def groups(statement: Select[Any]) -> GroupsSplit:
    how = split(statement, ()).how
    assert isinstance(how, GroupsSplit)
    return how


def test_offset_is_asked_as_more_rows_of_each_shard() -> None:
    sent = sql(
        rows(select(T.id).order_by(T.id).limit(5).offset(7)).scatter(None, as_text=False).statement
    )
    assert sent.endswith(f"ORDER BY thing.id LIMIT %({ROW_BOUND})s::BIGINT")


def test_an_order_by_outside_the_select_list_travels_as_a_hidden_column() -> None:
    scatter = rows(select(T.txt, T.i4).order_by(T.i4, T.i8.desc())).scatter(None, as_text=False)
    assert "thing.i8 AS sr_c1" in sql(scatter.statement)
    assert scatter.positions == (1, 2)
    assert scatter.hidden == 1


def test_keys_that_postgres_orders_travel_as_text() -> None:
    how = rows(select(T.mood).order_by(T.mood))
    scatter = how.scatter((facts("mood"),), as_text=True)
    assert "CAST(thing.mood AS TEXT) AS sr_c0" in sql(scatter.statement)
    assert scatter.positions == (1,)


def test_null_order_follows_the_direction_unless_given() -> None:
    keys = (
        rows(select(T.id).order_by(T.i4, T.i4.desc(), T.i4.nulls_first(), T.i4.desc().nulls_last()))
        .scatter(None, as_text=False)
        .keys
    )
    assert [key.to_sql() for key in keys] == [
        "ASC NULLS LAST",
        "DESC NULLS FIRST",
        "ASC NULLS FIRST",
        "DESC NULLS LAST",
    ]


def test_groups_by_the_shard_key_are_finished_by_the_shards() -> None:
    how = rows(
        select(T.uid, func.string_agg(T.txt, ",")).group_by(T.uid).having(func.count() > 1).limit(3)
    )
    sent = sql(how.scatter(None, as_text=False).statement)
    assert "GROUP BY thing.uid HAVING count(*) >" in sent


def test_groups_by_the_shard_key_are_not_distinct_over_shards() -> None:
    assert groups(select(func.count(T.id)).group_by(T.uid).distinct())


def test_avg_travels_as_sum_and_count() -> None:
    how = groups(select(T.txt, func.avg(T.i4)).group_by(T.txt))
    scatter = how.scatter([facts("text", 25), facts("bigint", 20), facts("bigint", 20)])
    assert "sum(thing.i4) AS sr_c1, count(thing.i4) AS sr_c2" in sql(scatter.statement)
    assert "(sum(sr_p.sr_c1) / sum(sr_p.sr_c2))" in sql(scatter.finish)
    assert "having" not in sql(scatter.statement).lower()


def test_avg_of_reals_is_added_in_double_precision() -> None:
    assert "sum(CAST(thing.f4 AS DOUBLE PRECISION))" in sql(groups(select(func.avg(T.f4))).typed())


def test_distinct_aggregates_travel_as_their_values() -> None:
    how = groups(select(func.count(distinct(T.txt)), func.count()))
    sent = sql(how.typed())
    assert "GROUP BY sr_c0" in sent
    scatter = how.scatter([facts("text", 25), facts("bigint", 20)])
    assert "(count(DISTINCT sr_p.sr_c0))" in sql(scatter.finish)


def test_having_order_and_limit_are_left_to_the_finish() -> None:
    n = func.count().label("n")
    statement = select(T.txt, n).group_by(T.txt).having(n > 3).order_by(n.desc()).limit(2).offset(1)
    scatter = groups(statement).scatter([facts("text", 25, '"C"'), facts("bigint", 20)])
    sent, finish = sql(scatter.statement), sql(scatter.finish)
    assert "HAVING" not in sent
    assert "ORDER BY" not in sent
    assert 'CAST(u.sr_c0 AS text) COLLATE "C" AS sr_c0' in finish
    assert "HAVING (CAST(coalesce(sum(sr_p.sr_c1), 0) AS bigint)) > " in finish
    assert "ORDER BY 2 DESC NULLS FIRST LIMIT" in finish


def test_a_limit_on_distinct_rows_is_asked_of_each_shard_in_order() -> None:
    how = groups(select(T.txt, T.i4).distinct().order_by(T.i4.desc()).limit(3))
    sent = sql(how.typed())
    assert sent.startswith("SELECT DISTINCT ")
    assert "ORDER BY 2 DESC NULLS FIRST LIMIT" in sent
    assert how.row_bound(4, 3, 100) == 7


def test_a_split_serves_other_values_of_the_same_statement() -> None:
    statement = select(T.id).where(T.i4.in_([1, 2])).limit(3)
    key = cache_key(statement)
    assert key is not None
    assert split(statement, [bind.key for bind in key.bindparams]).is_reusable
    assert not split(statement, ()).is_reusable


def test_expressions_that_differ_by_a_value_are_not_taken_for_one() -> None:
    """They may be equal this time and differ the next."""
    scatter = rows(select(T.i4 + 1).order_by(T.i4 + 1)).scatter(None, as_text=False)
    assert scatter.positions == (1,)
    label = (T.i4 + 1).label("n")
    assert rows(select(label).order_by(label.desc())).scatter(None, as_text=False).positions == (0,)


def test_names_of_the_result_are_those_of_the_statement() -> None:
    statement = select(T.id, Part.id, Kind.name.label("kind"), func.count())
    statement = statement.join(Part, Part.owner == T.uid).join(Kind, Kind.id == T.kind_id)
    found = split(statement.group_by(T.uid, T.id, Part.id, Kind.name), ())
    assert [column.name for column in found.result] == ["id", "id_1", "kind", "count_1"]
