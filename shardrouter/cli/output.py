"""How the CLI speaks: tables or JSON on stdout, progress and errors on stderr, exit codes."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from shardrouter.errors import (
    CommitInDoubt,
    MoveBusy,
    MoveTakenOver,
    ShardRouterError,
    StaleEpoch,
)


class Output(StrEnum):
    TABLE = "table"
    JSON = "json"


class ExitCode(IntEnum):
    """Documented in docs/reference/cli.md."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    BUSY = 3
    IN_DOUBT = 4
    INTERRUPTED = 130


OutputOption = Annotated[
    Output, typer.Option("--output", "-o", help="table for people, json for programs")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="show what would change, change nothing")
]

MAX_WIDTH: Final = 1000  # columns: the terminal wraps; folded cells could not be copied
stdout: Final = Console(soft_wrap=True, highlight=False, width=MAX_WIDTH)
stderr: Final = Console(stderr=True, soft_wrap=True, highlight=False)


def show_rows(
    rows: Sequence[Mapping[str, Any]], output: Output, columns: Sequence[str], empty: str = "none"
) -> None:
    """Print rows as one aligned table, or as a JSON array of objects."""
    if output is Output.JSON:
        show_json(list(rows))
        return
    if not rows:
        stdout.print(empty, markup=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        numeric = all(isinstance(row.get(column), int | float | None) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*("" if row.get(c) is None else str(row[c]) for c in columns))
    stdout.print(table, markup=False)


def show_json(value: Any) -> None:
    """Print one JSON document."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def say(text: str) -> None:
    """Print one line of result."""
    stdout.print(text, markup=False)


def exit_code_of(error: ShardRouterError) -> ExitCode:
    match error:
        case CommitInDoubt():
            return ExitCode.IN_DOUBT
        case StaleEpoch() | MoveBusy() | MoveTakenOver():
            return ExitCode.BUSY
        case _:
            return ExitCode.REFUSED


def run_app(app: Callable[[], Any]) -> int:
    """Run the typer application; turn our errors into a line, a hint and an exit code."""
    try:
        app()
    except ShardRouterError as error:
        stderr.print(f"error: {error}", markup=False)
        return exit_code_of(error)
    except KeyboardInterrupt:
        stderr.print("interrupted", markup=False)
        return ExitCode.INTERRUPTED
    return ExitCode.OK
