"""The tables of the demo and how each is spread over the shards."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger, ForeignKey, SmallInteger, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shardrouter import reference, sharded


class Base(DeclarativeBase):
    type_annotation_map: ClassVar[dict[Any, Any]] = {str: Text}


@reference
class Airline(Base):
    __tablename__ = "airlines"
    carrier: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]


@reference
class Airport(Base):
    __tablename__ = "airports"
    faa: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    lat: Mapped[float]
    lon: Mapped[float]
    alt: Mapped[int]
    """Feet."""

    tz: Mapped[int]
    dst: Mapped[str]
    tzone: Mapped[str | None]


@sharded(by="tailnum")
class Plane(Base):
    __tablename__ = "planes"
    tailnum: Mapped[str] = mapped_column(primary_key=True)
    year: Mapped[int | None]
    type: Mapped[str]
    manufacturer: Mapped[str]
    model: Mapped[str]
    engines: Mapped[int]
    seats: Mapped[int]
    speed: Mapped[int | None]
    engine: Mapped[str]


@sharded(by="tailnum")
class Flight(Base):
    """A flight of 2013. 721 of its tail numbers have no row in ``planes``: no foreign key."""

    __tablename__ = "flights"
    tailnum: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    departure: Mapped[datetime]
    """As scheduled, local time."""

    carrier: Mapped[str] = mapped_column(ForeignKey("airlines.carrier"))
    flight: Mapped[int] = mapped_column(SmallInteger)
    origin: Mapped[str] = mapped_column(ForeignKey("airports.faa"))
    dest: Mapped[str]
    """Four of the destinations are not among the airports: no foreign key."""

    sched_arr_time: Mapped[int] = mapped_column(SmallInteger)
    """As hhmm, local time."""

    dep_delay: Mapped[int | None] = mapped_column(SmallInteger)
    """Minutes, as are arr_delay and air_time."""

    arr_delay: Mapped[int | None] = mapped_column(SmallInteger)
    air_time: Mapped[int | None] = mapped_column(SmallInteger)
    distance: Mapped[int] = mapped_column(SmallInteger)
    """Miles."""


@sharded(by="tailnum")
class LogEntry(Base):
    """What the crew of a plane writes down: the demo writes it, then reads it from replicas."""

    __tablename__ = "log_entries"
    tailnum: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    note: Mapped[str]


@sharded(by="tailnum")
class Stock(Base):
    """Spare parts aboard a plane: the demo hands them from plane to plane."""

    __tablename__ = "stock"
    tailnum: Mapped[str] = mapped_column(ForeignKey("planes.tailnum"), primary_key=True)
    parts: Mapped[int]
