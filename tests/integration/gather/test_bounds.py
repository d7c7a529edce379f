"""A gather gives all rows or an error: too many rows, shards that fail, shards that differ."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import func, literal, select
from sqlalchemy.orm import Session

from shardrouter.errors import CrossShardUnsupported, ScatterFailed, UnknownShard
from shardrouter.topology import ShardId
from tests.integration.gather.test_exact_answers import thing
from tests.support.gather_bed import WHOLE, GatherBed
from tests.support.gather_tables import Kind, Mood, Note, Thing

T = Thing


@pytest.fixture(autouse=True)
def rows(gather_bed: GatherBed) -> None:
    gather_bed.load([thing(i, i, i4=i, txt=f"t{i % 4}", mood=list(Mood)[i % 3]) for i in range(30)])


@pytest.fixture
def change(gather_bed: GatherBed) -> Iterator[Any]:
    """Run DDL on one database, and undo it after the test; plans are made anew for both."""
    undone: list[tuple[str, str]] = []

    def run(name: str, sql: str, undo: str) -> None:
        _ddl(gather_bed, name, sql)
        undone.append((name, undo))

    yield run
    for name, undo in reversed(undone):
        _ddl(gather_bed, name, undo)
    gather_bed.forget_plans()


def test_more_rows_than_allowed_are_refused_not_cut(gather_bed: GatherBed) -> None:
    assert len(gather_bed.gather(select(T.id), max_rows=30).all()) == 30
    for query in (
        select(T.id),
        select(T).order_by(T.id),
        select(T.id).distinct(),
        select(T.id, func.count()).group_by(T.id),
        select(T.id).order_by(T.mood),
        select(T.id).order_by(T.id).limit(20).offset(9),
        select(T.uid, func.count()).group_by(T.uid),
    ):
        with pytest.raises(CrossShardUnsupported, match="more than 29 rows") as refused:
            gather_bed.gather(query, max_rows=29)
        assert "max_rows in section [gather]" in str(refused.value)
    assert gather_bed.gather(select(func.count(T.id)), max_rows=3).scalar() == 30
    assert len(gather_bed.gather(select(T.id).order_by(T.id).limit(5), max_rows=15).all()) == 5


def test_one_shard_answering_is_bounded_too(gather_bed: GatherBed) -> None:
    with pytest.raises(CrossShardUnsupported, match="more than 3 rows"):
        gather_bed.gather(select(Kind.id), max_rows=3)


def test_no_shard_sends_more_than_the_bound(gather_bed: GatherBed) -> None:
    """A limit beyond the bound must not make a shard send it all."""
    query = select(T.id).limit(10**9).execution_options(seen_by_sqlalchemy=True)
    asked = gather_bed.statements(lambda: gather_bed.gather(query, max_rows=50))
    assert [values["sr_limit"] for _, values in asked] == [51] * 3


@pytest.mark.parametrize("limit", [-1, -5])
def test_a_negative_limit_is_refused(gather_bed: GatherBed, limit: int) -> None:
    with pytest.raises(CrossShardUnsupported, match="LIMIT is -"):
        gather_bed.gather(select(T.id).limit(limit))
    with pytest.raises(CrossShardUnsupported, match="OFFSET is -"):
        gather_bed.gather(select(T.id).offset(limit))


def test_a_shard_that_fails_is_named_and_nothing_else_comes_back(
    gather_bed: GatherBed, change: Any
) -> None:
    change("g1", "ALTER TABLE thing RENAME TO gone", "ALTER TABLE gone RENAME TO thing")
    for query in (select(T.id), select(T), select(T.txt, func.count()).group_by(T.txt)):
        with pytest.raises(ScatterFailed) as failed:
            gather_bed.gather(query)
        assert "1 of 3 shards failed: g1: UndefinedTable: relation" in failed.value.message
        assert failed.value.__cause__ is not None
    with pytest.raises(ScatterFailed, match="3 of 3 shards failed"):
        gather_bed.gather(select(T.id).where(1 / (T.i4 - T.i4) > literal(0)))


def test_a_merge_that_fails_says_so(gather_bed: GatherBed) -> None:
    with pytest.raises(ScatterFailed, match="DivisionByZero"):
        gather_bed.gather(select(func.sum(T.i4) / (func.count() - 30)))


def test_a_local_table_of_an_unknown_shard(gather_bed: GatherBed) -> None:
    assert gather_bed.gather(select(Note.text)).scalar() == "here"
    with pytest.raises(UnknownShard, match="'g0'"):
        gather_bed.gather(select(Note.text), shards=[ShardId("g1")])


def test_shards_with_another_collation_are_refused(gather_bed: GatherBed, change: Any) -> None:
    change("g2", *_collated("C", "bed_words", "words"))
    for query in (
        select(T.id).order_by(T.words),
        select(T.words).distinct(),
        select(func.max(T.words)),
    ):
        with pytest.raises(CrossShardUnsupported, match="g0 and g2 disagree"):
            gather_bed.gather(query)


def test_shards_with_another_enum_are_refused(gather_bed: GatherBed, change: Any) -> None:
    """The same labels in another order sort the rows of that shard in another way."""
    as_text = "ALTER TABLE thing ALTER mood TYPE text; DROP TYPE mood; "
    back = "ALTER TABLE thing ALTER mood TYPE mood USING mood::mood"
    change(
        "g1",
        f"{as_text} CREATE TYPE mood AS ENUM ('awful', 'cloudy', 'sunny'); {back}",
        f"{as_text} CREATE TYPE mood AS ENUM ('sunny', 'cloudy', 'awful'); {back}",
    )
    with pytest.raises(CrossShardUnsupported, match="with the labels"):
        gather_bed.gather(select(T.id).order_by(T.mood))


def test_shards_with_another_time_zone_are_refused(gather_bed: GatherBed, change: Any) -> None:
    """A day begins at another moment there."""
    setting = "ALTER DATABASE g1 {} timezone"
    change("g1", f"{setting.format('SET')} = 'Asia/Tokyo'", setting.format("RESET"))
    day = func.date_trunc("day", T.at)
    for query in (select(day, T.id).order_by(T.id), select(T), select(func.max(day))):
        with pytest.raises(CrossShardUnsupported, match=r"setting TimeZone is .* on shard g1"):
            gather_bed.gather(query)


def test_enums_and_types_with_other_oids_are_merged(gather_bed: GatherBed, change: Any) -> None:
    change(
        "g1",
        "CREATE TYPE filler AS ENUM ('x'); ALTER TABLE thing ALTER mood TYPE text; DROP TYPE mood;"
        "CREATE TYPE mood AS ENUM ('sunny', 'cloudy', 'awful');"
        "ALTER TABLE thing ALTER mood TYPE mood USING mood::mood",
        "DROP TYPE filler",
    )
    query = select(T.mood, func.count()).group_by(T.mood).order_by(T.mood.desc())
    assert [tuple(row) for row in gather_bed.gather(query)] == gather_bed.whole(query)[1]


def test_a_collation_changed_in_mid_life_is_noticed(gather_bed: GatherBed, change: Any) -> None:
    """Shards that sort otherwise than was learned are asked again."""
    gather_bed.load([thing(i, i, words=w) for i, w in enumerate(["b", "A", "a", "B", "é", "Z"])])
    query = select(T.id).order_by(T.words)
    before = gather_bed.gather(query).scalars().all()
    assert before == [row[0] for row in gather_bed.whole(query)[1]]
    for name in ("g0", "g1", "g2", WHOLE):
        sql = 'ALTER TABLE thing ALTER words TYPE text COLLATE "C" USING reverse(words)'
        undo = "ALTER TABLE thing ALTER words TYPE text COLLATE bed_words"
        change(name, sql, undo)
    assert gather_bed.gather(query).scalars().all() == [r[0] for r in gather_bed.whole(query)[1]]


def test_a_type_changed_in_mid_life_is_noticed(gather_bed: GatherBed, change: Any) -> None:
    """Declared types are a guess; what the server says decides."""
    gather_bed.load([thing(i, i, i4=i) for i in (1, 2, 10, 11, 3)])
    query = select(T.id).order_by(T.i4)
    assert gather_bed.gather(query).scalars().all() == [1, 2, 3, 10, 11]
    for name in ("g0", "g1", "g2", WHOLE):
        change(
            name,
            "ALTER TABLE thing ALTER i4 TYPE text COLLATE bed_words",
            "ALTER TABLE thing ALTER i4 TYPE integer USING i4::integer",
        )
    assert gather_bed.gather(query).scalars().all() == [1, 10, 11, 2, 3]


def test_one_plan_serves_many_values(gather_bed: GatherBed) -> None:
    def ids(low: int, wanted: list[int], count: int) -> Any:
        return select(T.id).where(T.i4 > low, T.id.in_(wanted)).order_by(T.id).limit(count)

    for low, wanted, count in [(0, [1, 2, 3], 2), (2, [1, 2, 3, 4, 5, 6, 7], 9), (5, [], 1)]:
        query = ids(low, wanted, count)
        assert [tuple(r) for r in gather_bed.gather(query)] == gather_bed.whole(query)[1]
    gather_bed.forget_plans()
    for count in (1, 2, 3):
        gather_bed.gather(ids(0, [1, 2], count))
    assert len(gather_bed.plans) == 1


def test_streaming_options_are_left_out(gather_bed: GatherBed) -> None:
    query = select(T.id).order_by(T.id).execution_options(yield_per=2, stream_results=True)
    assert gather_bed.gather(query).scalars().all() == list(range(30))
    assert len(gather_bed.gather(select(T).execution_options(yield_per=2)).all()) == 30


def test_a_schema_translated_differently_is_another_plan(gather_bed: GatherBed) -> None:
    query = select(func.count(T.id))
    assert gather_bed.gather(query).scalar() == 30
    for name in ("g0", "g1", "g2"):
        _ddl(gather_bed, name, "CREATE SCHEMA IF NOT EXISTS other")
        _ddl(gather_bed, name, "CREATE TABLE IF NOT EXISTS other.thing (LIKE thing)")
    translated = query.execution_options(schema_translate_map={None: "other"})
    assert gather_bed.gather(translated).scalar() == 0
    assert gather_bed.gather(query).scalar() == 30


def test_instances_do_not_keep_connections(gather_bed: GatherBed) -> None:
    before = [engine.pool.checkedout() for engine in gather_bed.engines.values()]  # type: ignore[attr-defined]
    found = gather_bed.gather(select(T).order_by(T.id)).scalars().all()
    assert [e.pool.checkedout() for e in gather_bed.engines.values()] == before  # type: ignore[attr-defined]
    with Session(gather_bed.engines[WHOLE]) as session:
        assert session.merge(found[0], load=False).id == 0


def _collated(new: str, old: str, column: str) -> tuple[str, str]:
    change = f'ALTER TABLE thing ALTER {column} TYPE text COLLATE "{{}}"'
    return change.format(new), change.format(old)


def _ddl(bed: GatherBed, name: str, sql: str) -> None:
    with bed.engines[name].begin() as connection:
        connection.exec_driver_sql(sql)
    bed.engines[name].dispose()
