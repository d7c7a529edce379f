"""``shardrouter txn list | resolve``: transactions over shards that are not done everywhere."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

import typer
from sqlalchemy import Connection

from shardrouter.catalog import TransactionJournal
from shardrouter.cli.catalog import ConfigOption, actor, open_store
from shardrouter.cli.output import DryRunOption, Output, OutputOption, show_rows
from shardrouter.control import (
    Finding,
    carry_out,
    close_repaired,
    decide_by_hand,
    decide_due,
    inspect_transactions,
    is_due,
    next_step,
    resolve_once,
)
from shardrouter.errors import CommitError, CommitInDoubt
from shardrouter.postgres import direct_connection
from shardrouter.topology import ShardId, Topology
from shardrouter.topology.transaction import Decision, parse_gid

app = typer.Typer(
    help="List transactions over shards that are in doubt, and finish them.", no_args_is_help=True
)

_COLUMNS: Final = ("transaction", "state", "seconds", "branches", "origin", "next")
_NOTHING: Final = "no transaction is in doubt"

YesOption = Annotated[bool, typer.Option("--yes", help="yes, decide it")]


@dataclass(frozen=True, slots=True)
class _Fleet:
    """What the commands work on."""

    journal: TransactionJournal
    topology: Topology
    connect_timeout_seconds: float
    presume_abort_after_seconds: float

    @property
    def shards(self) -> list[ShardId]:
        return [shard.id for shard in self.topology.shards]

    @contextmanager
    def connect_primary(self, shard_id: ShardId) -> Iterator[Connection]:
        shard = self.topology.shard(shard_id)
        timeout = self.connect_timeout_seconds
        with direct_connection(shard, shard.primary, timeout, "shardrouter-txn") as connection:
            yield connection

    def inspect(self, only: UUID | None = None) -> list[Finding]:
        return inspect_transactions(self.journal, self.connect_primary, self.shards, only)


@app.command("list")
def list_transactions(config: ConfigOption = None, output: OutputOption = Output.TABLE) -> None:
    """List the transactions over shards that are not done everywhere."""
    with _open(config) as fleet:
        show_rows(_as_rows(fleet, fleet.inspect()), output, _COLUMNS, empty=_NOTHING)


@app.command()
def resolve(
    transaction: Annotated[
        str | None,
        typer.Argument(help="id or gid; without it: everything that is due", show_default=False),
    ] = None,
    commit: Annotated[bool, typer.Option("--commit", help="decide it, if undecided")] = False,
    abort: Annotated[bool, typer.Option("--abort", help="decide it, if undecided")] = False,
    repaired: Annotated[
        bool, typer.Option("--repaired", help="close a damaged one: its rows were mended by hand")
    ] = False,
    config: ConfigOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Finish transactions over shards that a crash left. Exit code 4: some stay in doubt.

    A decision of the journal is carried out. What is undecided for longer than
    transaction.presume_abort_after_seconds is rolled back.
    """
    if commit + abort + repaired > 1 or (commit + abort + repaired and transaction is None):
        raise typer.BadParameter("--commit, --abort or --repaired go with one TRANSACTION")
    with _open(config) as fleet:
        if transaction is None:
            _resolve_all(fleet, dry_run, output)
            return
        finding = _find(fleet, _id_of(transaction))
        if dry_run:
            show_rows(_as_rows(fleet, [finding]), output, _COLUMNS)
            return
        if commit or abort:
            decision = Decision.COMMIT if commit else Decision.ABORT
            _confirm(yes, f"{decision} transaction {finding.transaction} on every shard")
            entry = decide_by_hand(fleet.journal, finding, decision, actor())
            carry_out(fleet.journal, fleet.connect_primary, [entry])
        elif repaired:
            _confirm(yes, f"close the damaged transaction {finding.transaction}")
            close_repaired(fleet.journal, finding)
        else:
            _resolve_one(fleet, finding)
        after = fleet.inspect(finding.transaction) or [finding]
        _report(fleet, after, after, output)


@contextmanager
def _open(config: Path | None) -> Iterator[_Fleet]:
    with open_store(config) as (store, settings):
        yield _Fleet(
            store.transactions(),
            store.load(),
            settings.pool.connect_timeout_seconds,
            settings.transaction.presume_abort_after_seconds,
        )


def _resolve_all(fleet: _Fleet, dry_run: bool, output: Output) -> None:
    before = fleet.inspect()
    if dry_run:
        show_rows(_as_rows(fleet, before), output, _COLUMNS, empty=_NOTHING)
        return
    resolve_once(
        fleet.journal, fleet.connect_primary, fleet.presume_abort_after_seconds, sweep=fleet.shards
    )
    ids = {finding.transaction for finding in before}
    left = fleet.inspect()
    done = [f for id in ids - {f.transaction for f in left} for f in fleet.inspect(id)]
    _report(fleet, [*done, *left], left, output)


def _resolve_one(fleet: _Fleet, finding: Finding) -> None:
    """Carry out what is decided, at once; decide what stayed undecided too long."""
    entry = finding.entry
    if entry is None:
        return
    entries = [entry]
    if entry.decision is None:
        entries = list(
            decide_due(
                fleet.journal, fleet.connect_primary, [entry], fleet.presume_abort_after_seconds
            ).values()
        )
    carry_out(fleet.journal, fleet.connect_primary, entries)


def _report(
    fleet: _Fleet, rows: Sequence[Finding], left: Sequence[Finding], output: Output
) -> None:
    """Show what became of them. Raises CommitInDoubt when a dead process's ones are left."""
    show_rows(_as_rows(fleet, rows), output, _COLUMNS, empty=_NOTHING)
    stuck = [f for f in left if f.state.is_in_doubt and not _may_live(fleet, f)]
    if stuck:
        raise CommitInDoubt(
            f"{len(stuck)} transaction(s) stay in doubt: "
            + ", ".join(str(finding.transaction) for finding in stuck),
            hint="docs/how-to/in-doubt.md tells what to do in each state",
        )


def _may_live(fleet: _Fleet, finding: Finding) -> bool:
    entry = finding.entry
    return entry is not None and not is_due(entry, fleet.presume_abort_after_seconds)


def _find(fleet: _Fleet, id: UUID) -> Finding:
    found = fleet.inspect(id)
    if not found:
        raise CommitError(
            f"neither the journal nor any shard knows transaction {id}",
            hint="finished transactions are forgotten after a while; `shardrouter txn list`",
        )
    return found[0]


def _id_of(text: str) -> UUID:
    gid = parse_gid(text)
    if gid is not None:
        return gid.transaction
    try:
        return UUID(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither a transaction's id nor a gid", param_hint="TRANSACTION"
        ) from None


def _confirm(yes: bool, what: str) -> None:
    if not yes:
        raise CommitError(f"this would {what}, for good", hint="repeat the command with --yes")


def _as_rows(fleet: _Fleet, findings: Sequence[Finding]) -> list[dict[str, Any]]:
    return [
        {
            "transaction": str(finding.transaction),
            "state": finding.state.value,
            "seconds": None if finding.entry is None else round(finding.entry.age_seconds, 1),
            "branches": ", ".join(f"{s} {place}" for s, place in finding.branches.items()),
            "origin": None if finding.entry is None else finding.entry.origin,
            "decided_by": None if finding.entry is None else finding.entry.decided_by,
            "damage": None if finding.entry is None else finding.entry.damage,
            "gids": dict(finding.gids),
            "next": next_step(finding, fleet.presume_abort_after_seconds),
        }
        for finding in findings
    ]
