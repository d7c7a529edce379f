"""A command that carries moves out, ended by a signal: the move stays, and anybody goes on."""

import signal
import subprocess
from collections.abc import Iterator

import pytest

from shardrouter.cli.output import ExitCode
from shardrouter.topology import CUTTING_OVER, MoveState
from tests.integration.rebalance.conftest import Prepared
from tests.support.command import shardrouter, started_shardrouter
from tests.support.eventually import eventually


def lines_of(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    with process.stdout as lines:
        yield from lines


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_move_is_interrupted_and_resumed(prepared: Prepared, number: signal.Signals) -> None:
    bed = prepared.bed
    slots = ",".join(str(slot) for slot in prepared.slots)
    config = ("--config", str(bed.settings_path))
    process = started_shardrouter(
        *("move", "create", "--slots", slots, "--from", "s0", "--to", "s1"),
        *("--soak", "600", "--yes", *config),
        cwd=bed.settings_path.parent,
    )
    said: list[str] = []
    for line in lines_of(process):
        if "soaking" in line and not any("soaking" in earlier for earlier in said):
            process.send_signal(number)
        said.append(line)
    assert process.wait(20) == ExitCode.INTERRUPTED, said
    assert any("`shardrouter rebalance resume` goes on" in line for line in said)
    move = bed.moves.list()[0]
    assert (move.state, move.owner) == (MoveState.SOAKING, None)
    finished = shardrouter(
        "move", "finish", str(move.number), "--yes", *config, cwd=bed.settings_path.parent
    )
    assert finished.returncode == 0, finished.stderr
    assert bed.move(move.number).state is MoveState.DONE
    assert prepared.owners() == {"s1"}
    bed.wait_clean()


@pytest.mark.slow
def test_a_signal_before_the_cutover_leaves_no_writer_waiting(prepared: Prepared) -> None:
    bed = prepared.bed
    number = prepared.create(soak_seconds=0)
    config = ("--config", str(bed.settings_path))
    process = started_shardrouter("rebalance", "resume", *config, cwd=bed.settings_path.parent)
    eventually(lambda: bed.move(number).state is not MoveState.PLANNED, 20)
    process.terminate()
    assert process.wait(20) in (ExitCode.INTERRUPTED, ExitCode.OK)
    assert process.stdout is not None
    process.stdout.close()
    assert bed.move(number).state not in CUTTING_OVER
    again = shardrouter("rebalance", "resume", "-o", "json", *config, cwd=bed.settings_path.parent)
    assert again.returncode == 0, again.stderr
    assert bed.move(number).state is MoveState.DONE
    assert prepared.owners() == {"s1"}
