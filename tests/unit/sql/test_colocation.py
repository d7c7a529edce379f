"""Which joins each shard may answer alone."""

from datetime import date, datetime
from typing import Any

import pytest
from sqlalchemy import Select, and_, select
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column

from shardrouter.client.models import local, sharded
from shardrouter.errors import CrossShardUnsupported
from shardrouter.sql import OneShardSplit, RowsSplit
from shardrouter.sql.split import split
from tests.support.gather_tables import Kind, Note, Part, Thing

other = aliased(Part)
thing2 = aliased(Thing)
same_owner = Part.owner == Thing.uid
kind_of = Kind.id == Thing.kind_id


class Base(DeclarativeBase):
    pass


@sharded(by=("tenant", "day"))
class Visit(Base):
    __tablename__ = "visit"
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[int]
    day: Mapped[date]


@sharded(by=("tenant", "day"))
class Bill(Base):
    __tablename__ = "bill"
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[int]
    day: Mapped[date]


@sharded(by=("tenant", "at"))
class Event(Base):
    __tablename__ = "event"
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[int]
    at: Mapped[datetime]


@local(shard="g1")
class Elsewhere(Base):
    __tablename__ = "elsewhere"
    id: Mapped[int] = mapped_column(primary_key=True)


SPREAD = {
    "one table": select(Thing.id),
    "inner join on the key": select(Thing.id).join(Part, same_owner),
    "the key among other conditions": select(Thing.id).join(
        Part, and_(Part.thing_id == Thing.id, same_owner)
    ),
    "written the other way round": select(Thing.id).join(Part, Thing.uid == Part.owner),
    "condition in where": select(Thing.id, Part.id).where(same_owner, Part.n > 1),
    "left join": select(Thing.id).outerjoin(Part, same_owner),
    "full join": select(Thing.id).join(Part, same_owner, full=True),
    "reference joined": select(Thing.id).join(Kind, kind_of),
    "reference left joined": select(Thing.id).outerjoin(Kind, kind_of),
    "reference crossed": select(Thing.id).join(Kind, Kind.id > 0),
    "from reference, inner": select(Kind.id).join(Thing, kind_of),
    "three, by one key": select(Thing.id)
    .join(Part, same_owner)
    .join(other, other.owner == Thing.uid),
    "three, in a chain": select(Thing.id)
    .join(Part, same_owner)
    .join(other, other.owner == Part.owner),
    "through an equal column": select(Thing.id, Part.id).where(
        Part.owner == Thing.i4, Thing.i4 == Thing.uid
    ),
    "inner under left": select(Thing.id).join(Part, same_owner).outerjoin(Kind, kind_of),
    "self join": select(Thing.id).join(thing2, thing2.uid == Thing.uid),
    "composite key": select(Visit.id).join(
        Bill, and_(Bill.tenant == Visit.tenant, Bill.day == Visit.day)
    ),
}

REFUSED = {
    "half of a composite key": select(Visit.id).join(Bill, Bill.tenant == Visit.tenant),
    "key columns crossed": select(Visit.id).join(
        Bill, and_(Bill.tenant == Visit.tenant, Bill.day > Visit.day)
    ),
    "types that hash differently": select(Visit.id).join(
        Event, and_(Event.tenant == Visit.tenant, Event.at == Visit.day)
    ),
    "keys of another number": select(Visit.id).join(Thing, Thing.uid == Visit.tenant),
    "through a row that may be missing": select(Thing.id)
    .outerjoin(Part, same_owner)
    .join(other, other.owner == Part.owner),
    "after a full join": select(Thing.id)
    .join(Part, same_owner, full=True)
    .join(other, other.owner == Thing.uid),
    "where above a full join": select(Thing.id)
    .join(Part, Part.thing_id == Thing.id, full=True)
    .where(same_owner),
    "equality under or": select(Thing.id, Part.id).where(same_owner | (Part.n == 1)),
    "equality negated": select(Thing.id, Part.id).where(~same_owner),
    "two local shards": select(Note.id).join(Elsewhere, Elsewhere.id == Note.id),
}


@pytest.mark.parametrize("statement", SPREAD.values(), ids=SPREAD.keys())
def test_rows_that_belong_together_are_on_one_shard(statement: Select[Any]) -> None:
    assert isinstance(split(statement, ()).how, RowsSplit)


@pytest.mark.parametrize("statement", REFUSED.values(), ids=REFUSED.keys())
def test_rows_that_may_be_apart_are_not_joined(statement: Select[Any]) -> None:
    with pytest.raises(CrossShardUnsupported):
        split(statement, ())


def test_reference_tables_are_asked_on_any_shard() -> None:
    how = split(select(Kind.id), ()).how
    assert isinstance(how, OneShardSplit)
    assert how.shard is None


def test_a_select_without_tables_is_asked_on_any_shard() -> None:
    assert isinstance(split(select(Kind.id + 1).with_only_columns(Kind.id), ()).how, OneShardSplit)


def test_local_tables_are_asked_on_their_shard() -> None:
    how = split(select(Note.id).join(Kind, Kind.id == Note.id), ()).how
    assert isinstance(how, OneShardSplit)
    assert how.shard == "g0"
