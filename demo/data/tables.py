"""Read the compact copy: text values as the source has them, in columns.

Each flight column is a file of its own, one value a line; the small tables are CSV files. All are
compressed with xz: `xzcat demo/data/flights/tailnum.xz | head`.
"""

import csv
import io
import lzma
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
MISSING: Final = "NA"
UNKNOWN_TAILNUM: Final = "unknown"
"""Stands for the tail number of the flights that have none: a shard key cannot be NULL."""

YEAR: Final = 2013
FLIGHT_COLUMNS: Final = (
    "month",
    "day",
    "sched_dep_time",
    "dep_delay",
    "sched_arr_time",
    "arr_delay",
    "carrier",
    "flight",
    "tailnum",
    "origin",
    "dest",
    "air_time",
    "distance",
)
SMALL_TABLES: Final = ("planes", "airports", "airlines")


def read_flights() -> Mapping[str, Sequence[str]]:
    """Return every flight column; the n-th values of all columns are one flight.

    Times are hhmm in local time, delays and air time minutes, distances miles. MISSING means not
    known; a missing tail number is UNKNOWN_TAILNUM already.
    """
    columns = {name: _unpack(flight_file(HERE, name)).split("\n") for name in FLIGHT_COLUMNS}
    columns["tailnum"] = [UNKNOWN_TAILNUM if v == MISSING else v for v in columns["tailnum"]]
    return columns


def read_small(table: str) -> Sequence[Mapping[str, str | None]]:
    """Return the rows of planes, airports or airlines; a missing value is None."""
    rows = csv.DictReader(io.StringIO(_unpack(small_file(HERE, table)), newline=""))
    return [{name: None if v == MISSING else v for name, v in row.items()} for row in rows]


def flight_file(folder: Path, column: str) -> Path:
    """Return where a flight column is kept."""
    return folder / "flights" / f"{column}.xz"


def small_file(folder: Path, table: str) -> Path:
    """Return where a small table is kept."""
    return folder / f"{table}.csv.xz"


def _unpack(file: Path) -> str:
    return lzma.decompress(file.read_bytes()).decode()
