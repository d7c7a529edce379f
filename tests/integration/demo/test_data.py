"""The compact copy holds what the source holds: counts and sums taken from the source."""

import csv
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest

from demo.data.compact import compact
from demo.data.tables import (
    FLIGHT_COLUMNS,
    HERE,
    MISSING,
    SMALL_TABLES,
    UNKNOWN_TAILNUM,
    flight_file,
    read_flights,
    read_small,
    small_file,
)
from demo.flights import COPIED, blocks, copy_lines, planes, reference_rows
from demo.models import Airline, Airport

FLIGHTS = 336_776
SUMS = {  # column: (sum of the known values, how many are not known)
    "month": (2_205_381, 0),
    "day": (5_291_016, 0),
    "sched_dep_time": (452_712_768, 0),
    "dep_delay": (4_152_200, 8_255),
    "sched_arr_time": (517_415_985, 0),
    "arr_delay": (2_257_174, 9_430),
    "flight": (664_096_549, 0),
    "air_time": (49_326_610, 9_430),
    "distance": (350_217_607, 0),
}
DISTINCT = {"carrier": 16, "tailnum": 4_044, "origin": 3, "dest": 105}
SIZE_LIMIT_BYTES = 3_000_000


@pytest.fixture(scope="module")
def columns():
    return read_flights()


def test_every_column_has_every_flight(columns):
    assert {name: len(values) for name, values in columns.items()} == dict.fromkeys(
        FLIGHT_COLUMNS, FLIGHTS
    )


@pytest.mark.parametrize("name", SUMS)
def test_sums_are_those_of_the_source(columns, name):
    known = [int(value) for value in columns[name] if value != MISSING]
    assert (sum(known), FLIGHTS - len(known)) == SUMS[name]


def test_texts_are_as_varied_as_in_the_source(columns):
    assert {name: len(set(columns[name])) for name in DISTINCT} == DISTINCT


def test_flights_without_tail_number_have_a_shard_key(columns):
    assert columns["tailnum"].count(UNKNOWN_TAILNUM) == 2_512
    assert MISSING not in columns["tailnum"]


def test_rows_of_the_columns_belong_together(columns):
    """United 1545 from Newark to Houston on the first of January, the source's first row."""
    rows = set(zip(*(columns[name] for name in FLIGHT_COLUMNS), strict=True))
    first = "1 1 515 2 819 11 UA 1545 N14228 EWR IAH 227 1400"
    assert tuple(first.split()) in rows


def test_small_tables_are_complete():
    assert [len(read_small(table)) for table in SMALL_TABLES] == [3_322, 1_458, 16]
    assert sum(int(row["seats"] or 0) for row in read_small("planes")) == 512_639
    assert sum(row["tzone"] is None for row in read_small("airports")) == 3


def test_objects_are_typed():
    plane = planes()[0]
    assert (plane.tailnum, plane.year, plane.seats, plane.speed) == ("N10156", 2004, 55, None)
    first, *_, last = reference_rows()
    assert isinstance(first, Airline)
    assert isinstance(last, Airport)
    assert isinstance(last.lat, float)
    assert isinstance(last.alt, int)


def test_copy_lines_need_no_escaping(columns):
    for values in columns.values():
        text = "".join(set(values))
        assert not set(text) & set("\t\n\r\\")


def test_copy_line_has_every_column():
    values = ("2", "28", "5", "NA", "819", "NA", "UA", "1545", "N1", "EWR", "IAH", "NA", "1400")
    flight = dict(zip(FLIGHT_COLUMNS, values, strict=True))
    given = {name: [value] for name, value in flight.items()}
    [(tailnum, line)] = copy_lines(given, lambda tailnum: 77)
    assert tailnum == "N1"
    assert dict(zip(COPIED, line.removesuffix("\n").split("\t"), strict=True)) == {
        **{name: flight[name] for name in COPIED if name in flight},
        "id": "77",
        "departure": "2013-02-28 00:05",
        **dict.fromkeys(("dep_delay", "arr_delay", "air_time"), r"\N"),
    }


def test_blocks_hold_all_lines():
    lines = [f"{number}\n" for number in range(7)]
    found = list(blocks(lines, 3))
    assert [count for count, _ in found] == [3, 3, 1]
    assert "".join(text for _, text in found) == "".join(lines)


def test_compact_copy_is_small():
    files = [
        *(flight_file(HERE, c) for c in FLIGHT_COLUMNS),
        *(small_file(HERE, t) for t in SMALL_TABLES),
    ]
    assert sum(file.stat().st_size for file in files) < SIZE_LIMIT_BYTES


def test_compact_keeps_values_and_sorts_rows(tmp_path: Path):
    rows = [
        {**dict.fromkeys(FLIGHT_COLUMNS, "1"), "carrier": "UA", "tailnum": "N2", "year": "2013"},
        {**dict.fromkeys(FLIGHT_COLUMNS, "1"), "carrier": "AA", "tailnum": "NA", "year": "2013"},
    ]
    sdist = _sdist(tmp_path, rows)
    compact(sdist, tmp_path)
    unpacked = {
        name: lzma.decompress(flight_file(tmp_path, name).read_bytes()).decode().split("\n")
        for name in FLIGHT_COLUMNS
    }
    assert unpacked["carrier"] == ["AA", "UA"]
    assert unpacked["tailnum"] == ["NA", "N2"]
    assert lzma.decompress(small_file(tmp_path, "planes").read_bytes()) == b"planes of the source"


def _sdist(folder: Path, rows: list[dict[str, str]]) -> Path:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("flights.csv", text.getvalue())
    contents = {"flights.csv.zip": zipped.getvalue()}
    contents.update({f"{table}.csv": f"{table} of the source".encode() for table in SMALL_TABLES})
    path = folder / "source.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"source/data/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path
