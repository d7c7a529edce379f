"""``shardrouter move create | list | show | verify | reverse | finish | abort``."""

from typing import Annotated, Any, Final

import typer

from shardrouter.catalog import JournalEvent
from shardrouter.cli.catalog import ConfigOption, ReasonOption
from shardrouter.cli.output import DryRunOption, Output, OutputOption, say, show_json, show_rows
from shardrouter.cli.rebalance import apply_plan
from shardrouter.cli.rebalance_options import (
    Bench,
    MetricsPortOption,
    NoWaitOption,
    NumberArgument,
    SoakOption,
    YesOption,
    confirm,
    open_rebalance,
    read_slots,
)
from shardrouter.cli.rebalance_run import carry_out
from shardrouter.cli.rebalance_tables import show_moves
from shardrouter.rebalance import MoveStatus, move_of
from shardrouter.topology import STATES, MoveState

app = typer.Typer(help="One move: make it, look at it, bring it back.", no_args_is_help=True)

_EVENT_COLUMNS: Final = ("at", "event", "actor", "reason")


@app.command()
def create(
    slots: Annotated[str, typer.Option("--slots", help="as 10-20,99")],
    source: Annotated[str, typer.Option("--from", help="the shard that has them")],
    target: Annotated[str, typer.Option("--to", help="the shard that gets them")],
    soak: SoakOption = None,
    no_wait: NoWaitOption = False,
    metrics_port: MetricsPortOption = None,
    yes: YesOption = False,
    config: ConfigOption = None,
    reason: ReasonOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Move slots of your choice, and carry that out."""
    wanted = read_slots(slots, "--slots")
    with open_rebalance(config) as bench:
        batch = move_of(bench.store.load(), wanted, source, target)
        apply_plan(
            bench,
            bench.api.plan_by_hand(batch),
            output,
            jobs=1,
            soak=soak,
            wait=not no_wait,
            metrics_port=metrics_port,
            yes=yes,
            reason=reason or "move create",
            dry_run=dry_run,
        )


@app.command("list")
def list_moves(
    limit: Annotated[int, typer.Option("--limit", min=1, help="the newest so many")] = 20,
    config: ConfigOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List moves, the newest first, also those that are over."""
    with open_rebalance(config) as bench:
        show_moves(bench.api.moves(limit=limit), output)


@app.command()
def show(
    number: NumberArgument, config: ConfigOption = None, output: OutputOption = Output.TABLE
) -> None:
    """Show one move: where it is, what its state means, what happened to it."""
    with open_rebalance(config) as bench:
        status, events = bench.api.move(number), bench.api.history(number)
    if output is Output.JSON:
        history = [event_as_data(event) for event in events]
        show_json({**status.as_data(), "facts": dict(status.move.facts), "history": history})
        return
    _show_status(status)
    show_rows([_event_row(event) for event in events], output, _EVENT_COLUMNS, empty="")


@app.command()
def verify(
    number: NumberArgument, config: ConfigOption = None, output: OutputOption = Output.TABLE
) -> None:
    """Compare the rows on both sides again; code 1 when some differ. Changes nothing."""
    with open_rebalance(config) as bench:
        found = bench.api.verify(number)
    if output is Output.JSON:
        show_json({"move": number, "tables": dict(found.rows), "equal": True})
        return
    for table, rows in found.rows.items():
        say(f"{table}: {rows} rows are equal on both sides")


@app.command()
def reverse(
    number: NumberArgument,
    metrics_port: MetricsPortOption = None,
    yes: YesOption = False,
    config: ConfigOption = None,
    reason: ReasonOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Bring the slots of a move that soaks back to where they came from, without a copy."""
    with open_rebalance(config) as bench:
        confirm(yes, f"bring the slots of move {number} back")
        status = bench.api.reverse(number, reason=reason or "move reverse")
        _carry_out(bench, status, output, MoveState.REVERSED, metrics_port)


@app.command()
def finish(
    number: NumberArgument,
    metrics_port: MetricsPortOption = None,
    yes: YesOption = False,
    config: ConfigOption = None,
    reason: ReasonOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Soak no longer: delete the copy on the source. The slots cannot be brought back then."""
    with open_rebalance(config) as bench:
        confirm(yes, f"delete the old copy of move {number}")
        status = bench.api.finish(number, reason=reason or "move finish")
        _carry_out(bench, status, output, MoveState.DONE, metrics_port)


@app.command()
def abort(
    number: NumberArgument,
    metrics_port: MetricsPortOption = None,
    yes: YesOption = False,
    config: ConfigOption = None,
    reason: ReasonOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Give a move up before its cutover: the slots stay, what was copied is removed."""
    with open_rebalance(config) as bench:
        confirm(yes, f"give move {number} up")
        status = bench.api.abort(number, reason=reason or "move abort")
        _carry_out(bench, status, output, MoveState.ABORTED, metrics_port)


def event_as_data(event: JournalEvent) -> dict[str, Any]:
    """Return one event of a move for JSON."""
    return {
        "at": event.at.isoformat(),
        "event": event.kind,
        "actor": event.actor,
        "reason": event.reason,
        "detail": dict(event.detail),
    }


def _carry_out(
    bench: Bench, status: MoveStatus, output: Output, end: MoveState, metrics_port: int | None
) -> None:
    carry_out(bench, [status.move], output, wanted_end=end, metrics_port=metrics_port)


def _show_status(status: MoveStatus) -> None:
    data = status.as_data()
    facts = STATES[status.state]
    say(f"move {status.number}: {data['slot_count']} slots, {data['from']} -> {data['to']}")
    say(f"slots     {data['slots']}")
    say(f"state     {status.state}: {facts.does}")
    if not status.move.is_over:
        say(f"a crash   would leave {facts.leaves}")
        say(f"owner     {status.move.owner if status.is_attended else 'nobody'}")
    for name, value in sorted(data["progress"].items()):
        say(f"          {name}: {value}")
    if status.move.attention is not None:
        say(f"attention {status.move.attention}")
    if status.next_step:
        say(f"next      {status.next_step}")


def _event_row(event: JournalEvent) -> dict[str, str]:
    return {
        "at": f"{event.at:%F %T.%f%z}",
        "event": event.kind.removeprefix("move_"),
        "actor": event.actor,
        "reason": event.reason,
    }
