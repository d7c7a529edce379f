"""Tables of many types for gather: two colocated sharded ones, a reference and a local one."""

import enum
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CHAR,
    REAL,
    BigInteger,
    DateTime,
    Enum,
    ForeignKey,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    Text,
)
from sqlalchemy.dialects.postgresql import ARRAY, INET, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from shardrouter.client.models import local, reference, sharded


class Mood(enum.Enum):
    """Declared in an order that is not the alphabet's."""

    sunny = 1
    cloudy = 2
    awful = 3


class Base(DeclarativeBase):
    pass


@reference
class Kind(Base):
    __tablename__ = "kind"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


@sharded(by="uid")
class Thing(Base):
    __tablename__ = "thing"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    uid: Mapped[int] = mapped_column(Integer)
    kind_id: Mapped[int | None] = mapped_column(ForeignKey("kind.id"))
    txt: Mapped[str | None] = mapped_column(Text)
    words: Mapped[str | None] = mapped_column(Text(collation="bed_words"))
    pad: Mapped[str | None] = mapped_column(CHAR(6))
    i2: Mapped[int | None] = mapped_column(SmallInteger)
    i4: Mapped[int | None] = mapped_column(Integer)
    i8: Mapped[int | None] = mapped_column(BigInteger)
    num: Mapped[Decimal | None] = mapped_column(Numeric)
    num2: Mapped[Decimal | None] = mapped_column(Numeric(14, 3))
    f8: Mapped[float | None]
    f4: Mapped[float | None] = mapped_column(REAL)
    flag: Mapped[bool | None]
    day: Mapped[date | None]
    at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    clock: Mapped[time | None]
    span: Mapped[timedelta | None]
    uu: Mapped[UUID | None]
    raw: Mapped[bytes | None] = mapped_column(LargeBinary)
    mood: Mapped[Mood | None] = mapped_column(Enum(Mood, name="mood"))
    doc: Mapped[Any] = mapped_column(JSONB(none_as_null=True), nullable=True)
    host: Mapped[str | None] = mapped_column(INET)
    nums: Mapped[list[int] | None] = mapped_column(ARRAY(Integer))

    kind: Mapped[Kind | None] = relationship()
    parts: Mapped[list["Part"]] = relationship(viewonly=True)


@sharded(by="owner")
class Part(Base):
    __tablename__ = "part"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    owner: Mapped[int] = mapped_column(Integer)
    thing_id: Mapped[int] = mapped_column(ForeignKey("thing.id"))
    n: Mapped[int | None]


@local(shard="g0")
class Note(Base):
    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


class Unmarked(Base):
    __tablename__ = "unmarked"
    id: Mapped[int] = mapped_column(primary_key=True)
