"""``shardrouter migrate [upgrade REV | downgrade REV | status]``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from shardrouter.cli.catalog import ConfigOption, open_store
from shardrouter.cli.output import (
    DryRunOption,
    ExitCode,
    Output,
    OutputOption,
    show_json,
    show_rows,
    stderr,
)
from shardrouter.control import (
    DEFAULT_CONCURRENCY,
    DEFAULT_TIMEOUT_SECONDS,
    Migration,
    MigrationAction,
    MigrationState,
    ShardReport,
)
from shardrouter.control.migrate import migrate
from shardrouter.errors import SettingsError

_COLUMNS: Final = ("shard", "state", "current", "head", "steps", "guards", "error")


def command(
    action: Annotated[MigrationAction, typer.Argument(help="what to do")] = MigrationAction.UPGRADE,
    revision: Annotated[
        str | None,
        typer.Argument(help="a revision; default of upgrade: head", show_default=False),
    ] = None,
    alembic: Annotated[Path, typer.Option("--alembic", help="the service's alembic.ini")] = Path(
        "alembic.ini"
    ),
    argument: Annotated[
        list[str] | None,
        typer.Option("-x", help="name=value for env.py; may be repeated", show_default=False),
    ] = None,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, max=64, help="shards at a time")
    ] = DEFAULT_CONCURRENCY,
    timeout_seconds: Annotated[
        float, typer.Option("--timeout-seconds", min=1, help="for each shard")
    ] = DEFAULT_TIMEOUT_SECONDS,
    yes: Annotated[bool, typer.Option("--yes", help="do a downgrade without asking")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="show what alembic printed, on stderr")
    ] = False,
    config: ConfigOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run a service's alembic migrations on every shard, then guard its tables.

    A shard that fails does not hold the others back. Running it again continues what is left.
    """
    _check(action, revision, is_confirmed=yes or dry_run)
    with open_store(config) as (store, settings):
        plan = Migration(
            ini=alembic,
            action=action,
            target=revision or "head",
            dry_run=dry_run,
            arguments=tuple(argument or ()),
            concurrency=concurrency,
            timeout_seconds=timeout_seconds,
            connect_timeout_seconds=settings.pool.connect_timeout_seconds,
        )
        reports = migrate(store.load, plan, _show_progress)
    _show(reports, output, verbose=verbose)
    code = exit_code(reports, may_be_behind=dry_run)
    if code is not ExitCode.OK:
        raise typer.Exit(code)


def exit_code(reports: Sequence[ShardReport], *, may_be_behind: bool) -> ExitCode:
    """Return 0 when every shard is where it should be, 3 when some are only busy, else 1."""
    states = {report.state for report in reports} - {MigrationState.OK}
    if may_be_behind:
        states -= {MigrationState.BEHIND}
    if not states:
        return ExitCode.OK
    return ExitCode.BUSY if states == {MigrationState.BUSY} else ExitCode.REFUSED


def _check(action: MigrationAction, revision: str | None, *, is_confirmed: bool) -> None:
    if action is MigrationAction.STATUS and revision is not None:
        raise typer.BadParameter("status takes no revision", param_hint="REVISION")
    if action is MigrationAction.DOWNGRADE and revision is None:
        raise typer.BadParameter("name the revision to go back to", param_hint="REVISION")
    if action is MigrationAction.DOWNGRADE and not is_confirmed:
        raise SettingsError(
            f"a downgrade to {revision} may drop tables and columns on every shard",
            hint="see what it would do with --dry-run, then run it with --yes",
        )


def _show_progress(report: ShardReport) -> None:
    told = report.error or f"{len(report.steps)} steps"
    stderr.print(f"{report.shard}: {report.state} ({told})", markup=False)


def _show(reports: Sequence[ShardReport], output: Output, *, verbose: bool) -> None:
    if output is Output.JSON:
        show_json([_as_data(report) for report in reports])
    else:
        rows = [
            {**_as_data(report), "head": _joined(report.heads), "current": _joined(report.current)}
            | {"steps": len(report.steps)}
            for report in reports
        ]
        show_rows(rows, output, _COLUMNS)
        for report in reports:
            for step in report.steps:
                stderr.print(f"{report.shard}: step {step}", markup=False)
    for report in reports:
        for note in report.notes:
            stderr.print(f"note: {report.shard}: {note}", markup=False)
        if verbose and report.log:
            stderr.print(f"--- {report.shard}\n{report.log}", markup=False)


def _as_data(report: ShardReport) -> dict[str, Any]:
    return {
        "shard": report.shard,
        "state": report.state.value,
        "current": list(report.current),
        "head": list(report.heads),
        "steps": list(report.steps),
        "guards": report.guards,
        "error": report.error,
        "notes": list(report.notes),
    }


def _joined(revisions: Sequence[str]) -> str:
    return ", ".join(revisions) or "none"
