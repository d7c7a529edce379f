"""Say where the proxy's user time goes: ``python -m benchmarks.proxy.profile [--mode MODE]``.

pgbench -S runs against one worker while ``perf`` samples its user mode; compiled modules appear
with their functions. Modules that are plain Python are all the interpreter to perf: where
``py-spy`` is installed, a second table tells them apart. Prints tables for benchmarks/README.md.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.measure import WrongAnswer
from benchmarks.proxy.accounting import cpu_time
from benchmarks.proxy.doors import OURS, PURE, Door
from benchmarks.proxy.pgbench import Load, find_pgbench, run_pgbench
from benchmarks.proxy.profile_symbols import PerfSample, read_perf, read_stacks
from benchmarks.proxy.query_cost import MODES
from benchmarks.proxy.stage import ProxyStage, open_stage

INSTALL: Final = "perf is not installed: apt-get install linux-perf"
SECONDS: Final = 8
PERF_HERTZ: Final = 5000
STACKS_HERTZ: Final = 400
SHOWN: Final = 30
"""Lines of a table; the rest is summed up."""

SMALLEST_SHARE: Final = 0.005
PROFILER_TIMEOUT_SECONDS: Final = 120.0

Profiler = Callable[[Path, Door], Sequence[str | Path]]
"""Returns the command that writes its samples into the file for ``SECONDS``."""


def profile(stage: ProxyStage, name: str, load: Load) -> None:
    """Measure what a query costs, then sample it, and print the tables."""
    program = find_pgbench(stage.fleet)
    with stage.open(name) as door, stage.load_for(door):
        run_pgbench(program, door, load)
        cost = run_pgbench(program, door, load)
        print(
            f"{name}, {load.mode} x {load.clients}: {cost.cpu_us:.1f} us of processor time a"
            f" query, {cost.user_us:.1f} us of it in user mode\n"
        )
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "samples"
            with _sampled(_perf(path, door)):
                run_pgbench(program, door, load)
            samples = read_perf(_perf_lines(path))
            print_table("function", "module", Counter(samples), cost.user_us)
            if shutil.which("py-spy"):
                with _sampled(_py_spy(path, _busiest(door))):
                    run_pgbench(program, door, load)
                leaves = read_stacks(path.read_text().splitlines())
                print("\nThe same by Python function (py-spy), user and system:\n")
                print_table("function", "file", leaves, cost.cpu_us)


def print_table(what: str, where: str, found: Counter[PerfSample], us: float) -> None:
    """Print a table in Markdown; ``us`` is what all the samples together stand for."""
    total = found.total()
    if not total:
        raise WrongAnswer("the profiler saw nothing")
    shown = [(s, n) for s, n in found.most_common(SHOWN) if n / total >= SMALLEST_SHARE]
    rest = total - sum(count for _, count in shown)
    print(f"| share | us a query | {what} | {where} |\n|---:|---:|---|---|")
    for (function, module), count in (*shown, (("everything else", ""), rest)):
        part = count / total
        print(f"| {part:.1%} | {part * us:.2f} | {function} | {module} |")


@contextmanager
def _sampled(command: Sequence[str | Path]) -> Iterator[None]:
    """Run a profiler beside the block."""
    with subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        yield
        told, _ = process.communicate(timeout=PROFILER_TIMEOUT_SECONDS)
    if process.returncode:
        raise WrongAnswer(f"{command[0]} failed: {told.strip()}")


def _perf(path: Path, door: Door) -> list[str | Path]:
    pids = ",".join(str(pid) for pid in door.pids)
    record = ["perf", "record", "-e", "cpu-clock:u", "-F", str(PERF_HERTZ), "-p", pids]
    return [*record, "-o", path, "--", "sleep", str(SECONDS - 1)]


def _perf_lines(path: Path) -> Iterable[str]:
    command = ["perf", "script", "-i", str(path), "-F", "ip,sym,dso"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def _py_spy(path: Path, pid: int) -> list[str | Path]:
    how = ["--rate", str(STACKS_HERTZ), "--duration", str(SECONDS - 1), "--format", "raw"]
    return ["py-spy", "record", *how, "--nonblocking", "--pid", str(pid), "--output", path]


def _busiest(door: Door) -> int:
    """Return the worker: its parent does next to nothing."""
    return max(door.pids, key=lambda pid: cpu_time([pid]).total)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.proxy.profile", description=__doc__)
    parser.add_argument("--mode", choices=MODES, default=MODES[0])
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--pure", action="store_true", help="the proxy without compiled modules")
    asked = parser.parse_args()
    if shutil.which("perf") is None:
        sys.exit(INSTALL)
    with open_stage() as stage:
        name = PURE if asked.pure else OURS
        profile(stage, name, Load(asked.mode, asked.clients, SECONDS))


if __name__ == "__main__":
    main()
