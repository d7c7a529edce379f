"""Run a suite: ``python -m benchmarks.run library [--quick] [--repeat N] [--only NAME]``.

Prints a table on stdout and writes ``benchmarks/results/SUITE.json``; progress goes to stderr.
Exit code 0 when everything was measured, whether bounds hold or not (the table says so), 1 when a
benchmark gave a wrong answer, 2 on usage.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Final

import benchmarks
from benchmarks.estimate import SPREAD
from benchmarks.machine import (
    ROOT,
    build_name,
    describe_commit,
    describe_machine,
    describe_versions,
)
from benchmarks.measure import WrongAnswer
from benchmarks.progress import Progress
from benchmarks.report import print_table, results_file, write_result
from benchmarks.rows import Row
from benchmarks.suite import Benchmark, Effort

PURE_MARK: Final = " (pure)"


def suites() -> list[str]:
    """Return the names of the suites: the packages beside this file."""
    return [module.name for module in iter_modules(benchmarks.__path__) if module.ispkg]


def benchmarks_of(suite: str, only: str | None) -> list[Benchmark]:
    """Return a suite's benchmarks, or those whose name holds ``only``."""
    found: Sequence[Benchmark] = import_module(f"benchmarks.{suite}").BENCHMARKS
    return [item for item in found if only is None or only in item.name]


def measure(chosen: Sequence[Benchmark], effort: Effort) -> list[Row]:
    """Run the benchmarks one after the other. Rows of a pure build say so in their names."""
    mark = PURE_MARK if build_name() == "pure" else ""
    rows: list[Row] = []
    for benchmark in chosen:
        effort.progress.start(benchmark.name + mark)
        rows += [replace(row, name=row.name + mark) for row in benchmark.run(effort)]
    effort.progress.finish()
    return rows


def measure_pure(asked: argparse.Namespace) -> list[Row]:
    """Run what depends on the compiled modules once more, in a process without them."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "rows.json"
        command = [sys.executable, "-m", "benchmarks.run", asked.suite, "--rows-to", str(path)]
        command += ["--repeat", str(asked.repeat)]
        command += ["--quick"] if asked.quick else []
        command += ["--only", asked.only] if asked.only else []
        environment = {**os.environ, "SHARDROUTER_PURE": "1"}
        done = subprocess.run(command, env=environment, cwd=ROOT, check=False)
        if done.returncode:
            raise WrongAnswer(f"the pure run ended with exit code {done.returncode}")
        return [Row.from_json(item) for item in json.loads(path.read_text())]


def run(asked: argparse.Namespace) -> None:
    """Measure as asked and tell the results."""
    effort = Effort(Progress(), asked.repeat, asked.quick)
    chosen = benchmarks_of(asked.suite, asked.only)
    if asked.rows_to:
        rows = measure([item for item in chosen if item.is_repeated_pure], effort)
        asked.rows_to.write_text(json.dumps([row.to_json() for row in rows]))
        return
    head = describe_run(asked.suite)
    rows = measure(chosen, effort)
    if build_name() == "compiled" and any(item.is_repeated_pure for item in chosen):
        rows += measure_pure(asked)
    print_table(
        f"{asked.suite}: {head['versions']['postgres']}, load {head['machine']['load']} at start",
        rows,
    )
    print(verdict(rows))
    path = asked.output or (None if asked.quick or asked.only else results_file(asked.suite))
    if path is not None:
        write_result(path, head, rows)
        print(f"written: {path}")


def describe_run(suite: str) -> dict[str, Any]:
    """Return what the numbers of this run stand on. Taken before anything is started."""
    return {
        "suite": suite,
        "commit": describe_commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "versions": describe_versions(),
        "spread": SPREAD,
    }


def verdict(rows: Sequence[Row]) -> str:
    """Return one line on the bounds."""
    bounded = [row for row in rows if row.holds is not None]
    broken = [row.name for row in bounded if not row.holds]
    if broken:
        return f"{len(broken)} of {len(bounded)} bounds do not hold: {'; '.join(broken)}"
    return f"all {len(bounded)} bounds hold"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options. Exits with 2 when they are wrong."""
    parser = argparse.ArgumentParser(prog="benchmarks.run", description="Run a benchmark suite.")
    parser.add_argument("suite", choices=suites())
    parser.add_argument("--quick", action="store_true", help="a tenth of the rounds; no file")
    parser.add_argument("--repeat", type=positive, default=1, metavar="N", help="N times as many")
    parser.add_argument("--only", metavar="NAME", help="benchmarks whose name holds this; no file")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the results there")
    parser.add_argument("--rows-to", type=Path, help=argparse.SUPPRESS)  # see measure_pure
    return parser.parse_args(arguments)


def positive(text: str) -> int:
    """Return a whole number from 1. Raises ValueError, which argparse reports."""
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def main() -> None:
    """Run the command line."""
    asked = parse()
    try:
        run(asked)
    except WrongAnswer as error:
        raise SystemExit(f"wrong answer: {error}") from error


if __name__ == "__main__":
    main()
