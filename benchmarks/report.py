"""Write results and print them as tables: ``python -m benchmarks.report library --baseline main``.

With a baseline the table shows what changed against the committed results of that revision.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks.machine import ROOT
from benchmarks.rows import Row

RESULTS: Final = ROOT / "benchmarks" / "results"
WIDTH: Final = 110  # columns where the output is no terminal
BIG: Final = 100  # from here on digits behind the point mean nothing


def results_file(suite: str) -> Path:
    """Return where the results of a suite are kept."""
    return RESULTS / f"{suite}.json"


def write_result(path: Path, head: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Write one run: what it was measured on, and its rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {**head, "rows": [row.to_json() for row in rows]}
    path.write_text(json.dumps(data, indent=2) + "\n")


def read_rows(text: str) -> list[Row]:
    """Return the rows of a result."""
    return [Row.from_json(item) for item in json.loads(text)["rows"]]


def table_cells(rows: Sequence[Row], baseline: Sequence[Row] = ()) -> list[tuple[str, ...]]:
    """Return the cells of the table, a tuple a row; the last cell compares with the baseline."""
    before = {row.name: row for row in baseline}
    return [
        (
            row.name,
            number(row.median),
            f"{number(row.low)} .. {number(row.high)}",
            row.unit,
            "" if row.bound is None else f"<= {row.bound:g}",
            {None: "", True: "yes", False: "NO"}[row.holds],
            difference(row, before.get(row.name)),
        )
        for row in rows
    ]


def difference(row: Row, before: Row | None) -> str:
    """Return how the median changed, or nothing when the intervals overlap."""
    if before is None or before.median == 0:
        return "new" if before is None else ""
    if row.low <= before.high and before.low <= row.high:
        return "same"
    return f"{(row.median / before.median - 1) * 100:+.0f} %"


def number(value: float) -> str:
    """Return a number with the digits that mean something."""
    return f"{value:,.0f}" if abs(value) >= BIG else f"{value:.3g}"


def print_table(title: str, rows: Sequence[Row], baseline: Sequence[Row] | None = None) -> None:
    """Print the table on stdout."""
    table = Table("benchmark", title=title, title_justify="left", box=None, pad_edge=False)
    table.columns[0].overflow = "fold"
    for name in ("median", "95 % interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("unit", "bound", "holds"):
        table.add_column(name, no_wrap=True)
    if baseline is not None:
        table.add_column("against baseline", no_wrap=True)
    for cells in table_cells(rows, baseline or ()):
        table.add_row(*(cells if baseline is not None else cells[:-1]))
    width = None if sys.stdout.isatty() else WIDTH
    Console(width=width, highlight=False, markup=False).print(table)


def committed_rows(suite: str, revision: str) -> list[Row]:
    """Return the rows that a git revision holds. Raises SystemExit when it holds none."""
    path = results_file(suite).relative_to(ROOT)
    shown = subprocess.run(
        ["git", "show", f"{revision}:{path}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if shown.returncode:
        raise SystemExit(f"no results of {suite} at {revision}: {shown.stderr.strip()}")
    return read_rows(shown.stdout)


def main() -> None:
    """Print the results of a suite, compared with those of a revision when asked."""
    parser = argparse.ArgumentParser(prog="benchmarks.report", description=__doc__)
    parser.add_argument("suite")
    parser.add_argument("--baseline", metavar="REVISION", help="compare with its committed results")
    asked = parser.parse_args()
    path = results_file(asked.suite)
    if not path.exists():
        raise SystemExit(f"no {path}: run `make bench SUITE={asked.suite}` first")
    text = path.read_text()
    baseline = committed_rows(asked.suite, asked.baseline) if asked.baseline else None
    head = json.loads(text)
    print_table(f"{asked.suite}, {head['date']}, {head['commit']}", read_rows(text), baseline)


if __name__ == "__main__":
    main()
