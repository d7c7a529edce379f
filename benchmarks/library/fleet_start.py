"""Start and restart a local fleet of two shards with a replica each, and its catalog.

Through the command line, as a developer does it, with Python's own start counted in. The bound is
for a quiet machine. Hypothesis: initdb and pg_basebackup are most of a first start; a restart
waits for the replicas to stream again.
"""

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

from benchmarks.measure import check
from benchmarks.rows import Row
from benchmarks.suite import Effort
from shardrouter.local import LocalFleet

BOUND_SECONDS: Final = 5.0
ROUNDS: Final = 9
SIZE: Final = ("--shards", "2", "--replicas", "1")
SERVERS: Final = 5
COMMAND_TIMEOUT_SECONDS: Final = 120


@dataclass(frozen=True, slots=True)
class Seconds:
    """One round."""

    first_up: float
    down: float
    second_up: float
    destroy: float


def run(effort: Effort) -> list[Row]:
    """Make, stop, start and destroy a fleet, some times over."""
    wanted = effort.rounds(ROUNDS)
    rounds: list[Seconds] = []
    for number in range(wanted):
        rounds.append(_round())
        effort.progress.step(number + 1, wanted)
    name = "shardrouter"
    return [
        Row.of(f"{name} up, new fleet 2x1", "s", [r.first_up for r in rounds], BOUND_SECONDS),
        Row.of(f"{name} up, same fleet again", "s", [r.second_up for r in rounds]),
        Row.of(f"{name} down", "s", [r.down for r in rounds]),
        Row.of(f"{name} down --destroy", "s", [r.destroy for r in rounds]),
    ]


def _round() -> Seconds:
    with tempfile.TemporaryDirectory(prefix="shardrouter-bench-") as name:
        directory = Path(name)
        directory.chmod(0o711)  # the servers may belong to another user
        try:
            first_up = _timed(directory, "up", *SIZE)
            _write(directory)
            down = _timed(directory, "down")
            second_up = _timed(directory, "up")
            _check_kept(directory)
            return Seconds(
                first_up, down, second_up, _timed(directory, "down", "--destroy", "--yes")
            )
        finally:
            LocalFleet.discard(directory / ".shardrouter", finished=True)


def _timed(directory: Path, *arguments: str) -> float:
    program = Path(sys.executable).with_name("shardrouter")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SHARDROUTER__")}
    start = perf_counter()
    done = subprocess.run(
        [program, *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_SECONDS,
        check=False,
    )
    taken = perf_counter() - start
    check(done.returncode == 0, f"shardrouter {' '.join(arguments)}: {done.stderr.strip()}")
    return taken


def _write(directory: Path) -> None:
    fleet = LocalFleet.open(directory / ".shardrouter")
    with fleet.primary("s0").connect() as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")


def _check_kept(directory: Path) -> None:
    """The restarted fleet is whole and has what was written, on the replica too."""
    fleet = LocalFleet.open(directory / ".shardrouter")
    running = [server.id for server in fleet.servers if server.is_running()]
    check(len(running) == SERVERS, f"after the restart only {running} run")
    for node in ("s0-p", "s0-r1"):
        with fleet.node(node).connect() as connection:
            row = connection.execute("SELECT answer FROM kept").fetchone()
        check(row == (42,), f"{node} lost the row: {row}")
