"""Run Postgres' own pgbench against a door and read off what a query cost the proxy.

``pgbench -S``: one SELECT by primary key a transaction, without BEGIN and COMMIT.
"""

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Final

from benchmarks.measure import WrongAnswer, check
from benchmarks.proxy.accounting import cpu_time
from benchmarks.proxy.cpu_window import Sample, used_between
from benchmarks.proxy.doors import HOST, USER, Door, environment
from shardrouter.local import LocalFleet

EDGE_SECONDS: Final = 0.15
"""Left out at both ends of a run, where clients start and leave."""

SAMPLE_SECONDS: Final = 0.02
OVERTIME_SECONDS: Final = 60.0
WARM_TRANSACTIONS: Final = 20  # of each client
SHORTEST_SECONDS: Final = 0.3  # of what is left between logins and edges
LONGER_SECONDS: Final = (4, 10)
"""For another try, when logins took all of the time; pgbench counts them in."""

NOTHING_DONE: Final = "number of transactions actually processed: 0\n"
MICROSECONDS: Final = 1e6
MILLISECONDS: Final = 1e3
PERCENTILE: Final = 0.99
_LATENCY_FIELD: Final = 2  # of a line of the log: client, transaction, time in us, ...
_COUNT: Final = re.compile(r"number of transactions actually processed: (\d+)")
_FAILED: Final = re.compile(r"number of failed transactions: (\d+)")
_CONNECTING: Final = re.compile(r"^initial connection time = ([\d.]+) ms", re.MULTILINE)
_RATE: Final = re.compile(r"^tps = ([\d.]+) \(without initial connection time\)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Load:
    """What pgbench is to do."""

    mode: str
    """``simple``, ``extended`` or ``prepared``."""

    clients: int
    seconds: int
    is_logged: bool = False
    """Whether the time of each transaction is wanted."""

    per_second: int = 0
    """How many to send; 0: as many as get answers."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run found."""

    per_second: float
    cpu_us: float
    """Processor time of the proxy for each query; 0 without a proxy."""

    user_us: float
    """The part of it in user mode."""

    p99_us: float
    """0 unless the transactions were logged."""


@dataclass(frozen=True, slots=True)
class Report:
    """What pgbench says at its end."""

    transactions: int
    per_second: float
    connecting_seconds: float
    """Spent on logins, which pgbench counts as a part of the time it was given."""


def find_pgbench(fleet: LocalFleet) -> Path:
    """Return pgbench of the fleet's Postgres, or the one on the PATH."""
    own = fleet.binaries.program("pgbench")
    found = own if own.exists() else shutil.which("pgbench")
    if found is None:
        raise WrongAnswer(f"there is no pgbench in {own.parent}, nor on the PATH")
    return Path(found)


def pgbench_environment() -> Mapping[str, str]:
    """Return an environment in which libpq asks for nothing but a plain connection."""
    return environment(PGSSLMODE="disable", PGGSSENCMODE="disable")


def run_pgbench(program: Path, door: Door, load: Load) -> Outcome:
    """Run it, longer when logins take all of the time. Raises WrongAnswer when a transaction
    failed or a process ended.
    """
    for seconds in (load.seconds, *LONGER_SECONDS):
        found = _run_once(program, door, replace(load, seconds=seconds))
        if found is not None:
            return found
    raise WrongAnswer(f"{door.name}: {load.clients} logins take longer than {LONGER_SECONDS} s")


def _run_once(program: Path, door: Door, load: Load) -> Outcome | None:
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        told, samples, ended = _run(_command(program, door, load, *_timed(load, log)), door, load)
        latencies = sorted(read_latencies(Path(directory).iterdir()))
    if NOTHING_DONE in told:
        return None
    report = read_report(told, f"{door.name}, {load.mode} x {load.clients}")
    start = ended - load.seconds + report.connecting_seconds + EDGE_SECONDS
    end = ended - EDGE_SECONDS
    if end - start < SHORTEST_SECONDS:
        return None
    used = used_between(samples, start, end)
    cpu_us = used.total / (end - start) / report.per_second * MICROSECONDS
    return Outcome(
        report.per_second,
        cpu_us,
        cpu_us * used.user_share,
        percentile(latencies, PERCENTILE) if load.is_logged else 0.0,
    )


def warm_up(program: Path, door: Door, load: Load) -> None:
    """Let each client do a little, however long it takes to open the backends for it."""
    command = _command(program, door, load, "-t", str(WARM_TRANSACTIONS))
    told, _, _ = _run(command, door, load)
    what = f"{door.name}, {load.mode} x {load.clients}, warm-up"
    report, wanted = read_report(told, what), load.clients * WARM_TRANSACTIONS
    check(report.transactions == wanted, f"{what}: {report.transactions} of {wanted} done")


def read_report(text: str, what: str) -> Report:
    """Read what pgbench printed. Raises WrongAnswer unless every transaction went well."""
    patterns = (_COUNT, _FAILED, _RATE, _CONNECTING)
    found = [match.group(1) for match in (p.search(text) for p in patterns) if match]
    if len(found) < len(patterns):
        raise WrongAnswer(f"{what}: pgbench did not finish: {text.strip()}")
    count, failed, rate, connecting = found
    is_good = failed == "0" and "aborted" not in text
    check(is_good, f"{what}: transactions failed: {text.strip()}")
    return Report(int(count), float(rate), float(connecting) / MILLISECONDS)


def read_latencies(logs: Iterable[Path]) -> Iterator[int]:
    """Yield the microseconds of each logged transaction."""
    for log in logs:
        for line in log.read_text().splitlines():
            yield int(line.split()[_LATENCY_FIELD])


def percentile(ordered: list[int], part: float) -> float:
    """Return the value that so great a part of the sorted values does not exceed."""
    check(bool(ordered), "no transaction was logged")
    return float(ordered[ceil(part * len(ordered)) - 1])


def _timed(load: Load, log: Path) -> list[str]:
    return [
        *("-T", str(load.seconds)),
        *(("--log", "--log-prefix", str(log)) if load.is_logged else ()),
        *(("--rate", str(load.per_second)) if load.per_second else ()),
    ]


def _command(program: Path, door: Door, load: Load, *options: str) -> list[str]:
    address = ("-h", HOST, "-p", str(door.port), "-U", USER, door.database)
    what = ("-n", "-S", "-M", load.mode, "-c", str(load.clients))
    return [str(program), *what, *options, *address]


def _run(command: list[str], door: Door, load: Load) -> tuple[str, list[Sample], float]:
    """Return what was printed, the samples taken meanwhile and when it ended."""
    samples = [Sample(time.monotonic(), cpu_time(door.pids))]
    deadline = samples[0].at + load.seconds + OVERTIME_SECONDS
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=pgbench_environment(),
    ) as process:
        while True:
            try:
                told, _ = process.communicate(timeout=SAMPLE_SECONDS)
            except subprocess.TimeoutExpired:
                samples.append(Sample(time.monotonic(), cpu_time(door.pids)))
                if samples[-1].at > deadline:
                    process.kill()
                    raise WrongAnswer(f"pgbench hangs at {door.name}: {load}") from None
                continue
            samples.append(Sample(time.monotonic(), cpu_time(door.pids)))
            return told, samples, samples[-1].at
