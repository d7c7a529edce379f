"""Plans and moves as tables and JSON."""

from collections.abc import Sequence
from typing import Any, Final

from shardrouter.cli.output import Output, say, show_json, show_rows, stderr
from shardrouter.cli.quantities import bytes_words, part_words, seconds_words
from shardrouter.rebalance import (
    Basis,
    MoveStatus,
    PlannedMove,
    RebalancePlan,
    Statement,
    describe_slots,
    plan_as_data,
)
from shardrouter.topology import MoveState

MOST_RANGES: Final = 4  # of slots, in a table's cell

_PLAN_COLUMNS: Final = (
    "move", "from", "to", "count", "slots", "rows", "size", "copy", "wal kept", "pause",
    "target after", "free after",
)  # fmt: skip
_STATUS_COLUMNS: Final = (
    "move", "state", "from", "to", "count", "copied", "lag", "eta", "owner", "waits for", "next",
)  # fmt: skip
_LIST_COLUMNS: Final = (
    "move", "state", "from", "to", "count", "attempt", "pause", "created", "actor", "reason",
)  # fmt: skip


def show_plan(plan: RebalancePlan, output: Output) -> None:
    """Print the plan: the moves in order, and what they make of the balance."""
    if output is Output.JSON:
        show_json(plan_as_data(plan))
        return
    rows = [_plan_row(number, move) for number, move in enumerate(plan.moves, start=1)]
    columns = _PLAN_COLUMNS if any(row["free after"] for row in rows) else _PLAN_COLUMNS[:-1]
    show_rows(rows, output, columns, empty="nothing to move: the shards are even")
    if rows:
        say(
            f"{len(rows)} moves, {plan.slots} slots, {plan.rows} rows, {bytes_words(plan.bytes)};"
            f" imbalance by {plan.measure} {plan.imbalance_before:.2f}"
            f" -> {plan.imbalance_after:.2f} (fullest shard over its fair share)"
        )
        for note in _plan_notes(plan):
            stderr.print(f"note: {note}", markup=False)


def show_statements(statements: Sequence[Statement], output: Output) -> None:
    """Print the SQL of a dry run, by step and shard."""
    if output is Output.JSON:
        show_json([{"shard": s.shard, "step": s.step, "sql": s.sql} for s in statements])
        return
    place = ("", "")
    for statement in statements:
        if (statement.step, statement.shard) != place:
            place = (statement.step, statement.shard)
            say(f"-- {statement.step}, on shard {statement.shard}")
        say(f"{statement.sql};")


def show_status(statuses: Sequence[MoveStatus], output: Output) -> None:
    """Print unfinished moves, what they wait for and what to do next."""
    if output is Output.JSON:
        show_json([status.as_data() for status in statuses])
        return
    rows = [_status_row(status) for status in statuses]
    show_rows(rows, output, _STATUS_COLUMNS, empty="no move is unfinished")
    _show_attention(statuses)


def show_moves(statuses: Sequence[MoveStatus], output: Output) -> None:
    """Print moves, finished ones too."""
    if output is Output.JSON:
        show_json([status.as_data() for status in statuses])
        return
    rows = [
        {
            **_move_row(status),
            "attempt": status.move.attempt,
            "pause": seconds_words(status.move.pause_seconds),
            "created": f"{status.move.created_at:%F %T%z}",
            "actor": status.move.actor,
            "reason": status.move.reason,
        }
        for status in statuses
    ]
    show_rows(rows, output, _LIST_COLUMNS, empty="no moves yet: `shardrouter rebalance plan`")
    _show_attention(statuses)


def state_words(state: MoveState, *, held: bool, attention: str | None) -> str:
    """Return the state, and why the move does not go on."""
    if attention is not None:
        return f"{state} (needs attention)"
    return f"{state} (held)" if held else str(state)


def _plan_row(number: int, planned: PlannedMove) -> dict[str, Any]:
    batch, price = planned.batch, planned.price
    return {
        "move": number,
        "from": batch.source,
        "to": batch.target,
        "count": len(batch.slots),
        "slots": describe_slots(batch.slots, MOST_RANGES),
        "rows": price.rows,
        "size": bytes_words(price.bytes),
        "copy": seconds_words(price.copy_seconds),
        "wal kept": bytes_words(price.retained_wal_bytes),
        "pause": seconds_words(price.pause_seconds),
        "target after": bytes_words(price.target_bytes_after),
        "free after": bytes_words(price.target_free_bytes_after),
    }


def _plan_notes(plan: RebalancePlan) -> list[str]:
    copy, pause = plan.rates.copy_bytes_per_second, plan.rates.pause_seconds
    notes = [f"copy time from {bytes_words(copy.value)}/s ({_basis_words(copy.basis)})"]
    notes.append(f"write pause {seconds_words(pause.value)} ({_basis_words(pause.basis)})")
    if plan.moves and plan.moves[0].price.target_free_bytes_after is None:
        notes.append("set rebalance.disk_mb to be told how much of a disk stays free")
    if plan.left_to_drain:
        notes.append(f"{plan.left_to_drain} slots stay on shards that are to be drained")
    if plan.hot:
        notes.append(
            f"slots {describe_slots(plan.hot)} are hotter than a fair share: moves alone cannot"
            " even them out"
        )
    return notes


def _basis_words(basis: Basis) -> str:
    if basis is Basis.MEASURED:
        return "median of the last moves"
    return "assumed: no move of this fleet was measured yet"


def _move_row(status: MoveStatus) -> dict[str, Any]:
    move = status.move
    return {
        "move": move.number,
        "state": state_words(move.state, held=move.held, attention=move.attention),
        "from": move.source,
        "to": move.target,
        "count": len(move.slots),
    }


def _status_row(status: MoveStatus) -> dict[str, Any]:
    progress = status.move.progress
    return {
        **_move_row(status),
        "copied": part_words(status.copied),
        "lag": bytes_words(progress.get("lag_bytes")),
        "eta": seconds_words(progress.get("eta_seconds")),
        "owner": status.move.owner if status.is_attended else "nobody",
        "waits for": progress.get("waits_for", ""),
        "next": status.next_step,
    }


def _show_attention(statuses: Sequence[MoveStatus]) -> None:
    for status in statuses:
        if status.move.attention is not None:
            stderr.print(f"move {status.number}: {status.move.attention}", markup=False)
