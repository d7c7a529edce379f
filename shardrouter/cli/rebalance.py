"""``shardrouter rebalance plan | apply | status | pause | resume | abort | limits | isolate``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from shardrouter.cli.catalog import ConfigOption, ReasonOption
from shardrouter.cli.output import DryRunOption, Output, OutputOption
from shardrouter.cli.rebalance_options import (
    Bench,
    ByOption,
    ExcludeOption,
    JobsOption,
    LoadsOption,
    MaxMovesOption,
    MetricsPortOption,
    NoWaitOption,
    SlotsPerMoveOption,
    SoakOption,
    YesOption,
    confirm,
    make_plan,
    open_rebalance,
)
from shardrouter.cli.rebalance_run import carry_out
from shardrouter.cli.rebalance_tables import show_plan, show_statements, show_status
from shardrouter.errors import MoveRefused
from shardrouter.rebalance import (
    ADJUSTABLE,
    Measure,
    RebalancePlan,
    Statement,
    read_plan,
    write_plan,
)
from shardrouter.topology import MoveState

app = typer.Typer(help="Even out the shards while programs go on.", no_args_is_help=True)

PlanOption = Annotated[
    Path | None, typer.Option("--plan", help="a plan that was saved", show_default=False)
]


@app.command()
def plan(
    by: ByOption = Measure.COUNT,
    max_moves: MaxMovesOption = None,
    slots_per_move: SlotsPerMoveOption = None,
    exclude: ExcludeOption = None,
    loads: LoadsOption = None,
    save: Annotated[
        Path | None, typer.Option("--save", help="write the plan there", show_default=False)
    ] = None,
    config: ConfigOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show which slots would move to make the shards even, and what that would cost."""
    with open_rebalance(config) as bench:
        made = make_plan(bench, by, max_moves, slots_per_move, exclude, loads)
    if save is not None:
        write_plan(made, save)
    show_plan(made, output)


@app.command()
def apply(
    plan: PlanOption = None,
    by: ByOption = Measure.COUNT,
    max_moves: MaxMovesOption = None,
    slots_per_move: SlotsPerMoveOption = None,
    exclude: ExcludeOption = None,
    loads: LoadsOption = None,
    jobs: JobsOption = 1,
    soak: SoakOption = None,
    no_wait: NoWaitOption = False,
    metrics_port: MetricsPortOption = None,
    yes: YesOption = False,
    config: ConfigOption = None,
    reason: ReasonOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Carry a plan out: the one that was saved, else one that is made now."""
    with open_rebalance(config) as bench:
        if plan is None:
            made = make_plan(bench, by, max_moves, slots_per_move, exclude, loads)
        else:
            made = read_plan(plan)
        apply_plan(
            bench,
            made,
            output,
            jobs=jobs,
            soak=soak,
            wait=not no_wait,
            metrics_port=metrics_port,
            yes=yes,
            reason=reason or "rebalance apply",
            dry_run=dry_run,
        )


@app.command()
def status(config: ConfigOption = None, output: OutputOption = Output.TABLE) -> None:
    """Show the moves that are not over, what they wait for, and what to do next."""
    with open_rebalance(config) as bench:
        show_status(bench.api.status(), output)


@app.command()
def pause(
    config: ConfigOption = None, reason: ReasonOption = None, output: OutputOption = Output.TABLE
) -> None:
    """Let all moves rest where no writer waits for them. Streams go on, and WAL is kept."""
    with open_rebalance(config) as bench:
        bench.api.pause(reason=reason or "rebalance pause")
        show_status(bench.api.status(), output)


@app.command()
def resume(
    jobs: JobsOption = 1,
    no_wait: NoWaitOption = False,
    metrics_port: MetricsPortOption = None,
    config: ConfigOption = None,
    reason: ReasonOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Carry unfinished moves on in this process: paused, interrupted, or of a dead process."""
    with open_rebalance(config) as bench:
        moves = [s.move for s in bench.api.go_on(reason=reason or "rebalance resume")]
        if not moves:
            show_status([], output)
            return
        carry_out(bench, moves, output, jobs=jobs, wait=not no_wait, metrics_port=metrics_port)


@app.command()
def abort(
    yes: YesOption = False,
    config: ConfigOption = None,
    reason: ReasonOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Give up every move whose slots have not changed their shard yet, and clean up after it."""
    with open_rebalance(config) as bench:
        if not bench.api.status():
            show_status([], output)
            return
        confirm(yes, "give up the moves that are before their cutover")
        asked = bench.api.abort_all(reason=reason or "rebalance abort")
        moves = [status.move for status in asked]
        if not moves:
            raise MoveRefused(
                "no move can be given up any more: their slots are on the target",
                hint="bring them back with `shardrouter move reverse N`",
            )
        carry_out(bench, moves, output, wanted_end=MoveState.ABORTED)


@app.command()
def limits(
    max_bytes_per_second: Annotated[
        int | None, typer.Option(min=65_536, help="copying rests above")
    ] = None,
    max_replica_lag_mb: Annotated[
        int | None, typer.Option(min=1, help="copying rests above")
    ] = None,
    max_p99_ms: Annotated[float | None, typer.Option(min=0.001, help="copying rests above")] = None,
    max_retained_wal_mb: Annotated[
        int | None, typer.Option(min=16, help="a move gives up above")
    ] = None,
    min_free_disk_mb: Annotated[
        int | None, typer.Option(min=1, help="a move gives up below")
    ] = None,
    drain_seconds: Annotated[
        float | None, typer.Option(min=0.001, help="wait for transactions")
    ] = None,
    copy_jobs: Annotated[
        int | None, typer.Option(min=1, max=64, help="copies side by side")
    ] = None,
    delete_rows: Annotated[
        int | None, typer.Option(min=100, help="rows one cleaning transaction deletes")
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="back to the settings first")] = False,
    config: ConfigOption = None,
    reason: ReasonOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Change limits of the moves that run, while they run. What is not named stays."""
    given: dict[str, Any] = {
        "max_bytes_per_second": max_bytes_per_second,
        "max_replica_lag_mb": max_replica_lag_mb,
        "max_p99_ms": max_p99_ms,
        "max_retained_wal_mb": max_retained_wal_mb,
        "min_free_disk_mb": min_free_disk_mb,
        "drain_seconds": drain_seconds,
        "copy_jobs": copy_jobs,
        "delete_rows": delete_rows,
    }
    wanted: dict[str, Any] = dict.fromkeys(ADJUSTABLE) if reset else {}
    wanted |= {name: value for name, value in given.items() if value is not None}
    if not wanted:
        raise typer.BadParameter("name a limit, or --reset")
    with open_rebalance(config) as bench:
        show_status(bench.api.limit(wanted, reason=reason or "rebalance limits"), output)


def apply_plan(
    bench: Bench,
    plan: RebalancePlan,
    output: Output,
    *,
    jobs: int,
    soak: float | None,
    wait: bool,
    metrics_port: int | None,
    yes: bool,
    reason: str,
    dry_run: bool,
) -> None:
    """Show a plan, ask, carry it out; of a dry run print the SQL. Raises StaleEpoch, MoveError."""
    bench.api.check(plan)
    if dry_run:
        show_statements(statements_of_plan(bench, plan, soak), output)
        return
    if output is Output.TABLE:
        show_plan(plan, output)
    if not plan.moves:
        if output is Output.JSON:
            show_status([], output)
        return
    confirm(yes, f"move {plan.slots} slots")
    moves = bench.api.create(plan, reason=reason, soak_seconds=soak)
    carry_out(bench, moves, output, jobs=jobs, wait=wait, metrics_port=metrics_port)


def statements_of_plan(
    bench: Bench, plan: RebalancePlan, soak: float | None
) -> tuple[Statement, ...]:
    """Return the SQL that the moves of a plan would run."""
    seconds = bench.settings.rebalance.soak_seconds if soak is None else soak
    return bench.api.statements(plan, soaks=seconds > 0)
