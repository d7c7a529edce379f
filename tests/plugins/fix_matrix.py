"""Collect what came of each fault of the crash matrix; print it and write it as a table.

A test says its line by ``record_property("rebalance matrix", row)``, which also crosses from the
processes of xdist. The table is ``build/rebalance-matrix.md``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

PROPERTY: Final = "rebalance matrix"
TABLE: Final = Path("build") / "rebalance-matrix.md"
LIMIT_OF_TERMINAL: Final = 40  # rows; the file has all

Row = Mapping[str, Any]


class Matrix:
    """The rows of one run, by test."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    def add(self, test: str, row: Row, *, is_well: bool) -> None:
        self.rows[test] = {**row, "verdict": "ok" if is_well else "FAILED"}

    def table(self) -> list[str]:
        """Return the lines of a Markdown table, in the order of phases and faults."""
        rows = sorted(self.rows.values(), key=lambda row: (row["order"], row["fault"]))
        columns = [name for name in rows[0] if name != "order"]
        cells = [columns, *([str(row.get(name, "")) for name in columns] for row in rows)]
        widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
        lines = [
            "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
            for line in cells
        ]
        lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        return lines


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_MATRIX] = Matrix()
    config.pluginmanager.register(_Collector(config.stash[_MATRIX]))


class _Collector:
    def __init__(self, matrix: Matrix) -> None:
        self._matrix = matrix

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, row in report.user_properties:
            if name == PROPERTY and isinstance(row, dict):
                known = self._matrix.rows.get(report.nodeid)
                is_well = report.passed and (known is None or known["verdict"] == "ok")
                self._matrix.add(report.nodeid, row, is_well=is_well)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    matrix = config.stash[_MATRIX]
    if not matrix.rows:
        return
    lines = matrix.table()
    path = config.rootpath / TABLE
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    terminalreporter.section("rebalance: crash matrix")
    for line in lines[: LIMIT_OF_TERMINAL + 2]:
        terminalreporter.line(line)
    failed = sum(row["verdict"] != "ok" for row in matrix.rows.values())
    terminalreporter.line(f"{len(matrix.rows)} faults, {failed} failed; the table is {TABLE}")


_MATRIX: Final = pytest.StashKey[Matrix]()
