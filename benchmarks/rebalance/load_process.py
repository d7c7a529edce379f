"""Start a load beside the benchmark, and hear what it has done when it is told to end."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.machine import ROOT
from benchmarks.measure import WrongAnswer, check
from benchmarks.proxy.doors import environment
from benchmarks.rebalance.load import READY, Order
from benchmarks.rebalance.transactions import Notes

END_SECONDS: Final = 60.0


class LoadProcess:
    """A load that runs; ``end`` is called once."""

    def __init__(self, order: Order, directory: Path) -> None:
        path = directory / "order.json"
        path.write_text(order.to_text())
        self._notes = Path(order.notes)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.rebalance.load", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            cwd=ROOT,
        )
        said = self._process.stdout.readline() if self._process.stdout else ""
        if said.strip() != READY:
            raise WrongAnswer(f"the load did not start: {self._process.communicate()[1].strip()}")

    def end(self) -> Notes:
        """End the load; return its notes. Raises WrongAnswer when it broke."""
        told = self._process.communicate(timeout=END_SECONDS)[1]
        check(self._process.returncode == 0, f"the load broke: {told.strip()}")
        return Notes.from_json(json.loads(self._notes.read_text()))

    def kill(self) -> None:
        """End it without notes, if it still runs."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def load(order: Order, directory: Path) -> Iterator[LoadProcess]:
    """Run a load for the block, at most."""
    running = LoadProcess(order, directory)
    try:
        yield running
    finally:
        running.kill()
