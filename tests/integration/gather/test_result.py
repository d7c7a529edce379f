"""A gathered result is used like any SQLAlchemy result; mapped classes come back as instances."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import func, insert, inspect, select, type_coerce
from sqlalchemy.exc import InvalidRequestError, MultipleResultsFound, NoResultFound
from sqlalchemy.orm import aliased, contains_eager, defer, joinedload, lazyload, selectinload
from sqlalchemy.orm.exc import DetachedInstanceError
from sqlalchemy.types import String, TypeDecorator

from shardrouter.errors import CrossShardUnsupported
from tests.integration.gather.test_exact_answers import thing
from tests.support.gather_bed import GatherBed
from tests.support.gather_tables import Kind, Mood, Part, Thing

T = Thing


class Shouted(TypeDecorator[str]):
    """Text that is louder in Python than in the database."""

    impl = String
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else value.upper()


@pytest.fixture(autouse=True)
def rows(gather_bed: GatherBed) -> None:
    gather_bed.load(
        [
            thing(i, i, txt="abcdef"[i], kind_id=i % 3, i4=i // 2, mood=Mood.cloudy)
            for i in range(6)
        ],
        [{"id": 10 + i, "owner": i, "thing_id": i, "n": i} for i in range(3)],
    )


def test_rows_by_name_and_by_column(gather_bed: GatherBed) -> None:
    row = gather_bed.gather(select(T.id, T.txt.label("name")).order_by(T.id)).first()
    assert row is not None
    assert (row.id, row.name, row[1]) == (0, "a", "a")
    assert row._mapping[T.id] == 0
    assert dict(row._mapping) == {"id": 0, "name": "a"}
    assert row._mapping[Thing.__table__.c.id] == 0


def test_the_usual_ways_to_take_rows(gather_bed: GatherBed) -> None:
    ids = select(T.id).order_by(T.id)
    gather = gather_bed.gather
    assert gather(ids).scalars().all() == [0, 1, 2, 3, 4, 5]
    assert [row.id for row in gather(ids)] == [0, 1, 2, 3, 4, 5]
    assert gather(ids.limit(1)).one() == (0,)
    assert gather(ids.limit(1)).scalar_one() == 0
    assert gather(ids.where(T.id > 99)).one_or_none() is None
    assert gather(ids).mappings().all()[2] == {"id": 2}
    assert gather(ids).fetchmany(2) == [(0,), (1,)]
    assert [len(part) for part in gather(ids).partitions(4)] == [4, 2]
    assert gather(select(T.i4).order_by(T.id)).scalars().unique().all() == [0, 1, 2]
    assert gather(select(func.count(T.id))).scalar() == 6
    with pytest.raises(NoResultFound):
        gather(ids.where(T.id > 99)).one()
    with pytest.raises(MultipleResultsFound):
        gather(ids).one()


def test_all_columns_of_a_core_table(gather_bed: GatherBed) -> None:
    table = Thing.__table__
    result = gather_bed.gather(select(table).order_by(table.c.id))
    assert list(result.keys()) == [column.name for column in table.c]
    assert result.mappings().all()[5]["txt"] == "f"


def test_a_name_of_two_columns_is_ambiguous(gather_bed: GatherBed) -> None:
    query = select(T.id.label("x"), T.txt.label("x")).order_by(T.id)
    row = gather_bed.gather(query).first()
    assert row is not None
    with pytest.raises(InvalidRequestError, match="mbiguous"):
        _ = row.x


def test_types_are_applied_after_the_merge(gather_bed: GatherBed) -> None:
    """Python values of a type of one's own say nothing about the order."""
    shouted = type_coerce(T.txt, Shouted)
    query = select(shouted, T.mood).order_by(shouted.desc())
    assert gather_bed.gather(query).first() == ("F", Mood.cloudy)
    assert gather_bed.gather(select(shouted).distinct().order_by(shouted)).scalars().all()[0] == "A"
    assert gather_bed.gather(select(func.max(shouted))).scalar() == "F"


def test_instances_are_detached_and_loaded(gather_bed: GatherBed) -> None:
    things = gather_bed.gather(select(T).order_by(T.txt.desc()).limit(3)).scalars().all()
    assert [(one.id, one.txt, one.mood) for one in things] == [
        (5, "f", Mood.cloudy), (4, "e", Mood.cloudy), (3, "d", Mood.cloudy),
    ]  # fmt: skip
    assert all(inspect(one).detached for one in things)
    with pytest.raises(DetachedInstanceError):
        _ = things[0].kind


def test_instances_beside_columns_and_aliases(gather_bed: GatherBed) -> None:
    other = aliased(T, name="other")
    query = select(T, other.txt, Kind).join(other, other.uid == T.uid)
    query = query.join(Kind, Kind.id == T.kind_id).order_by(T.i4.desc(), T.id)
    result = gather_bed.gather(query)
    assert list(result.keys()) == ["Thing", "txt", "Kind"]
    row = result.first()
    assert row is not None
    assert (row.Thing.id, row.txt, row.Kind.name) == (4, "e", "kind 1")


def test_related_rows_of_the_same_shard_are_loaded_by_a_join(gather_bed: GatherBed) -> None:
    query = select(T).options(joinedload(T.kind)).order_by(T.id)
    assert [one.kind.name for one in gather_bed.gather(query).scalars() if one.kind] == [
        f"kind {i % 3}" for i in range(6)
    ]
    query = select(T).join(T.kind).options(contains_eager(T.kind)).where(Kind.id == 1)
    assert gather_bed.gather(query).scalars().first().kind.name == "kind 1"  # type: ignore[union-attr]


def test_eager_loads_that_take_another_statement_are_refused(gather_bed: GatherBed) -> None:
    query = select(T).order_by(T.id)
    with pytest.raises(CrossShardUnsupported, match="an eager load"):
        gather_bed.gather(query.options(selectinload(T.kind)))
    loaded = gather_bed.gather(query.options(lazyload("*"), defer(T.raw))).scalars().first()
    assert loaded is not None
    assert "raw" in inspect(loaded).unloaded


def test_instances_of_distinct_rows(gather_bed: GatherBed) -> None:
    query = select(T).join(Part, Part.owner == T.uid).distinct().order_by(T.i4.desc(), T.id)
    assert [one.id for one in gather_bed.gather(query).scalars()] == [2, 0, 1]
    with pytest.raises(CrossShardUnsupported, match="DISTINCT with ORDER BY"):
        gather_bed.gather(query.order_by(None).order_by(T.mood))


def test_reference_and_local_tables_are_read_from_one_shard(gather_bed: GatherBed) -> None:
    asked: list[str] = []
    kinds = select(Kind).order_by(Kind.name.desc())
    found = gather_bed.gather(kinds, asked=asked).scalars().all()
    assert [kind.id for kind in found] == [3, 2, 1, 0]
    assert asked == ["g0"]


def test_aggregates_have_the_python_types_of_the_driver(gather_bed: GatherBed) -> None:
    query = select(func.count(), func.sum(T.i4), func.sum(T.i8), func.avg(T.i4), func.avg(T.f8))
    row = gather_bed.gather(query).one()
    assert row == (6, 6, None, Decimal("1.0000000000000000"), None)
    assert [type(value) for value in row[:2]] == [int, int]
    gather_bed.load([thing(1, 1, span=timedelta(hours=3)), thing(2, 2, span=timedelta(hours=1))])
    assert gather_bed.gather(select(func.avg(T.span))).scalar() == timedelta(hours=2)


def test_instances_of_two_shards_with_one_primary_key_stay_apart(gather_bed: GatherBed) -> None:
    """Each shard may number its rows from 1; what one session loads would be one instance."""
    for shard, text in (("g1", "one"), ("g2", "two")):
        with gather_bed.engines[shard].begin() as connection:
            connection.execute(insert(Thing), [thing(77, int(shard[1]), txt=text, kind_id=1)])
    query = select(T).where(T.id == 77).order_by(T.txt)
    assert [one.txt for one in gather_bed.gather(query).scalars()] == ["one", "two"]
    query = query.options(joinedload(T.kind))
    assert [one.txt for one in gather_bed.gather(query).scalars()] == ["one", "two"]
    noted = query.execution_options(noted=True)
    assert [one.txt for one in gather_bed.gather(noted).scalars()] == ["one", "two"]
