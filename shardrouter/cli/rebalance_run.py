"""Carry moves out for a command: progress, metrics, signals, and what the end means."""

from collections.abc import Mapping, Sequence

import typer

from shardrouter.catalog import Move
from shardrouter.cli.move_progress import run_shown, tell_how_to_resume
from shardrouter.cli.output import ExitCode, Output
from shardrouter.cli.rebalance_options import Bench
from shardrouter.cli.rebalance_tables import show_moves
from shardrouter.errors import MoveError, MoveRefused
from shardrouter.rebalance import MoveMetrics, MoveStatus, OnProgress, Stop
from shardrouter.topology import Direction, MoveState, Wish


def carry_out(
    bench: Bench,
    moves: Sequence[Move],
    output: Output,
    *,
    jobs: int = 1,
    wait: bool = True,
    wanted_end: MoveState = MoveState.DONE,
    metrics_port: int | None = None,
) -> None:
    """Run the moves in this process and print how they ended.

    wanted_end: a move that comes to another end, or to none, makes the command fail. Raises
    typer.Exit(130) when the process was asked to stop before, MoveError as said.
    """
    metrics = MoveMetrics()

    def work(show: OnProgress, stop: Stop) -> list[Move]:
        return bench.api.run(
            [move.number for move in moves],
            jobs=jobs,
            wait=wait,
            keep_going=wanted_end is not MoveState.DONE,
            on_progress=metrics.watching(show),
            stop=stop,
        )

    with metrics.served(metrics_port):
        ended, is_stopped = run_shown(moves, work)
    statuses = [MoveStatus(move) for move in ended]
    show_moves(statuses, output)
    if is_stopped and not all(move.is_over for move in ended):
        tell_how_to_resume(ended)
        raise typer.Exit(ExitCode.INTERRUPTED)
    wanted = {move.number: wanted_end_of(move, wanted_end) for move in moves}
    require_end(statuses, wanted, wait=wait)


def wanted_end_of(move: Move, usual: MoveState) -> MoveState:
    """Return how a move shall end, by what was asked of it before. Pure."""
    if move.wish is Wish.ABORT or move.state is MoveState.ABORTING:
        return MoveState.ABORTED
    goes_back = move.wish is Wish.REVERSE or move.direction is Direction.BACK
    return MoveState.REVERSED if goes_back and move.wish is not Wish.FINISH else usual


def require_end(
    statuses: Sequence[MoveStatus], wanted: Mapping[int, MoveState], *, wait: bool
) -> None:
    """Raise MoveError unless every move ended as wanted; soaking will do when nobody waits."""
    for status in statuses:
        fine = {wanted[status.number]} if wait else {wanted[status.number], MoveState.SOAKING}
        if status.state in fine and status.move.attention is None:
            continue
        if status.move.attention is not None:
            raise MoveError(
                f"move {status.number} needs attention: {status.move.attention}",
                hint=status.next_step,
            )
        raise MoveRefused(
            f"move {status.number} is {status.state}",
            hint=status.next_step or f"`shardrouter move show {status.number}` tells why",
        )
