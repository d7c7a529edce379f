"""Turn the compact copy into rows of the demo's tables.

Pure: takes text columns, returns objects and lines in COPY's text format.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from demo.data.tables import MISSING, YEAR, read_small
from demo.models import Airline, Airport, Base, Plane

COPIED: Final = (
    *("tailnum", "id", "departure", "carrier", "flight", "origin", "dest", "sched_arr_time"),
    *("dep_delay", "arr_delay", "air_time", "distance"),
)
"""Columns of a COPY line, in order."""

COPY_FLIGHTS: Final = f"COPY flights ({', '.join(COPIED)}) FROM STDIN"
NULLABLE: Final = ("dep_delay", "arr_delay", "air_time")


def copy_lines(
    columns: Mapping[str, Sequence[str]], new_id: Callable[[str], int]
) -> Iterator[tuple[str, str]]:
    """Yield each flight's tail number and its line for COPY_FLIGHTS.

    The source has no tabs, line ends or backslashes in its values, so nothing is escaped.
    """
    given = {**columns, "departure": list(_departures(columns))}
    given.update({name: _with_null(columns[name]) for name in NULLABLE})
    rest = zip(*(given[name] for name in COPIED[2:]), strict=True)
    for tailnum, row in zip(columns["tailnum"], rest, strict=True):
        values = "\t".join(row)
        yield tailnum, f"{tailnum}\t{new_id(tailnum)}\t{values}\n"


def blocks(lines: Sequence[str], size: int) -> Iterator[tuple[int, str]]:
    """Yield the lines joined into blocks of at most ``size``, each with its count."""
    for start in range(0, len(lines), size):
        block = lines[start : start + size]
        yield len(block), "".join(block)


def reference_rows() -> list[Base]:
    """Return a new object for each airline and airport."""
    numbers = {"lat": float, "lon": float, "alt": int, "tz": int}
    return [
        *(Airline(**row) for row in read_small("airlines")),
        *(Airport(**_typed(row, numbers)) for row in read_small("airports")),
    ]


def planes() -> list[Plane]:
    """Return a new object for each plane."""
    integers = dict.fromkeys(("year", "engines", "seats", "speed"), int)
    return [Plane(**_typed(row, integers)) for row in read_small("planes")]


def _typed(
    row: Mapping[str, str | None], types: Mapping[str, Callable[[str], Any]]
) -> dict[str, Any]:
    return {
        name: types[name](value) if name in types and value is not None else value
        for name, value in row.items()
    }


def _with_null(values: Iterable[str]) -> list[str]:
    return [r"\N" if value == MISSING else value for value in values]


def _departures(columns: Mapping[str, Sequence[str]]) -> Iterator[str]:
    moments = zip(columns["month"], columns["day"], columns["sched_dep_time"], strict=True)
    for month, day, hhmm in moments:
        yield f"{YEAR}-{month:0>2}-{day:0>2} {hhmm[:-2]:0>2}:{hhmm[-2:]:0>2}"
