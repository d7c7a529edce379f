"""Say where the proxy's user time goes: ``python -m benchmarks.proxy.profile [--mode MODE]``.

pgbench -S runs against one worker while ``perf`` samples its user mode. One table tells which
functions ran; there the interpreter is one function and says little. The other counts what ran,
the interpreter too, for the innermost compiled function that asked for it. Prints both as they
stand in benchmarks/README.md.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.measure import WrongAnswer
from benchmarks.proxy.doors import OURS, PURE, Door
from benchmarks.proxy.pgbench import Load, find_pgbench, run_pgbench, warm_up
from benchmarks.proxy.profile_symbols import Call, Function, itself, owner, read_chains
from benchmarks.proxy.query_cost import MODES
from benchmarks.proxy.stage import ProxyStage, open_stage

INSTALL: Final = "perf is not installed: apt-get install linux-perf"
SECONDS: Final = 8
HERTZ: Final = 4000
CHAIN: Final = "dwarf,8192"  # optimised code keeps no frame pointers
SHOWN: Final = 25
"""Lines of a table; the rest is summed up."""

SMALLEST_SHARE: Final = 0.005
PERF_TIMEOUT_SECONDS: Final = 300.0


def profile(stage: ProxyStage, name: str, load: Load) -> None:
    """Measure what a query costs, then sample it, and print the tables."""
    program = find_pgbench(stage.fleet)
    with stage.open(name) as door, stage.load_for(door), tempfile.TemporaryDirectory() as directory:
        warm_up(program, door, load)
        cost = run_pgbench(program, door, load)
        samples = Path(directory) / "samples"
        with _recorded(door, samples):
            run_pgbench(program, door, load)
        chains = _chains(samples)
    print(
        f"{name}, {load.mode} x {load.clients}: {cost.cpu_us:.1f} us of processor time a query,"
        f" {cost.user_us:.1f} us of it in user mode; {len(chains):,} samples\n"
    )
    print_table("function with what it calls", Counter(map(owner, chains)), cost.user_us)
    print()
    print_table("function by itself", Counter(map(itself, chains)), cost.user_us)


def print_table(what: str, found: Counter[Function], us: float) -> None:
    """Print a table in Markdown; ``us`` is what all the samples together stand for."""
    total = found.total()
    if not total:
        raise WrongAnswer("perf saw nothing")
    shown = [(s, n) for s, n in found.most_common(SHOWN) if n / total >= SMALLEST_SHARE]
    rest = total - sum(count for _, count in shown)
    print(f"| share | us a query | {what} | module |\n|---:|---:|---|---|")
    for (name, module), count in (*shown, (Function("everything else", ""), rest)):
        part = count / total
        print(f"| {part:.1%} | {part * us:.2f} | {name} | {module} |")


@contextmanager
def _recorded(door: Door, path: Path) -> Iterator[None]:
    """Let perf sample the proxy's processes while the block runs."""
    command = ["perf", "record", "-e", "cpu-clock:u", "-F", str(HERTZ), "--call-graph", CHAIN]
    command += ["-p", ",".join(str(pid) for pid in door.pids), "-o", str(path)]
    with subprocess.Popen(
        [*command, "--", "sleep", str(SECONDS - 1)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        yield
        told, _ = process.communicate(timeout=PERF_TIMEOUT_SECONDS)
    if process.returncode:
        raise WrongAnswer(f"perf failed: {told.strip()}")


def _chains(path: Path) -> list[list[Call]]:
    command = ["perf", "script", "-i", str(path), "-F", "ip,sym,dso"]
    told = subprocess.run(
        command, capture_output=True, text=True, timeout=PERF_TIMEOUT_SECONDS, check=True
    )
    return list(read_chains(told.stdout.splitlines()))


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
