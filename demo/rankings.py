"""Questions over all flights: each is gathered from all shards and asked of one plain Postgres."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Select, func, select

from demo.models import Airline, Airport, Flight, Plane

_FLIGHTS: Final = func.count().label("flights")


@dataclass(frozen=True, slots=True)
class Question:
    """A query and how its answer is shown. Delays are minutes."""

    text: str
    query: Select[*tuple[Any, ...]]
    columns: Sequence[str]


def busiest_airlines() -> Question:
    """Top five, with the airline's name from a reference table."""
    query = (
        select(Airline.name, _FLIGHTS, func.avg(Flight.dep_delay), func.sum(Flight.distance))
        .join(Airline, Airline.carrier == Flight.carrier)
        .group_by(Airline.name)
        .order_by(_FLIGHTS.desc(), Airline.name)
        .limit(3)
    )
    columns = ("airline", "flights", "average departure delay", "miles")
    return Question("airlines with most flights", query, columns)


def delays_by_airport() -> Question:
    """All airports of departure by their mean delay."""
    delay = func.avg(Flight.dep_delay)
    query = (
        select(Airport.name, _FLIGHTS, delay, func.max(Flight.dep_delay))
        .join(Airport, Airport.faa == Flight.origin)
        .group_by(Airport.name)
        .order_by(delay.desc())
    )
    columns = ("from", "flights", "average departure delay", "longest delay")
    return Question("delay by airport of departure", query, columns)


def slowest_destinations() -> Question:
    """Destinations of many flights with the worst mean delay on arrival."""
    delay = func.avg(Flight.arr_delay)
    query = (
        select(Flight.dest, _FLIGHTS, delay)
        .group_by(Flight.dest)
        .having(func.count() >= 1000)
        .order_by(delay.desc().nulls_last(), Flight.dest)
        .limit(3)
    )
    columns = ("to", "flights", "average arrival delay")
    return Question("latest arrivals, of destinations with 1,000 flights or more", query, columns)


def longest_flights() -> Question:
    """Single flights, merged by their order from all shards."""
    query = (
        select(Flight.air_time, Flight.distance, Flight.dest, Flight.tailnum, Flight.departure)
        .order_by(Flight.air_time.desc().nulls_last(), Flight.tailnum, Flight.id)
        .limit(3)
    )
    columns = ("minutes in the air", "miles", "to", "plane", "departure")
    return Question("longest flights", query, columns)


def flights_by_maker() -> Question:
    """A join of two sharded tables that live together: no row travels between shards."""
    query = (
        select(Plane.manufacturer, _FLIGHTS, func.sum(Flight.air_time), func.avg(Plane.seats))
        .join(Flight, Flight.tailnum == Plane.tailnum)
        .group_by(Plane.manufacturer)
        .order_by(_FLIGHTS.desc(), Plane.manufacturer)
        .limit(3)
    )
    columns = ("manufacturer", "flights", "minutes in the air", "average seats")
    return Question("flights and planes joined, by manufacturer", query, columns)


def flights_of(tailnum: str) -> Question:
    """The flights of one plane, joined with the plane."""
    query = (
        select(Plane.manufacturer, Plane.model, Flight.dest, _FLIGHTS, func.sum(Flight.air_time))
        .join(Flight, Flight.tailnum == Plane.tailnum)
        .where(Plane.tailnum == tailnum)
        .group_by(Plane.manufacturer, Plane.model, Flight.dest)
        .order_by(_FLIGHTS.desc(), Flight.dest)
        .limit(3)
    )
    columns = ("manufacturer", "model", "to", "flights", "minutes in the air")
    return Question(f"where plane {tailnum} flew", query, columns)


RANKINGS: Final = (busiest_airlines, delays_by_airport, slowest_destinations, longest_flights)


def unmergeable() -> Select[*tuple[Any, ...]]:
    """A query whose answer cannot be put together from the shards' answers."""
    rank = func.rank().over(order_by=Flight.distance.desc())
    return select(Flight.tailnum, rank)
