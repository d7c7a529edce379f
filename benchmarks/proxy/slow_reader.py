"""Eight clients at work, while one more reads a large result at a trickle, and while none does.

In each round the same proxy is measured with and without it. The server would send gigabytes, so
a proxy that does not hold it back would show in its memory, and one that waits for the slow client
in the times of the others. It leaves in the middle, which ends its query.

Hypothesis: a socket that is not writable costs nobody anything: the ratio is 1 within noise.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.measure import check
from benchmarks.proxy.accounting import peak_bytes, reset_peak, resident_bytes
from benchmarks.proxy.doors import USER, Door, until
from benchmarks.proxy.pgbench import Load, find_pgbench, run_pgbench
from benchmarks.proxy.raw_client import RawClient
from benchmarks.proxy.side_by_side import SideBySide, interleaved
from benchmarks.proxy.stage import ProxyStage, open_stage
from benchmarks.rows import Row
from benchmarks.suite import Effort

BOUND: Final = 1.2
BOUND_MEGABYTES: Final = 64.0
ROUNDS: Final = 11
LOAD: Final = Load("simple", clients=8, seconds=1, is_logged=True, per_second=5000)
"""A quarter of what passes: at the limit the times are those of queues before the server."""

QUERY: Final = "SELECT generate_series(1, 100000000), repeat('x', 1000)"
SIP_BYTES: Final = 8192
SIP_SECONDS: Final = 0.02
SETTLE_SECONDS: Final = 0.5
"""Until every buffer on the way is full."""

RUNNING: Final = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE state = 'active' AND query LIKE 'SELECT generate_series%'"
)
END_SECONDS: Final = 10.0
JOIN_SECONDS: Final = 10.0
MEGABYTES: Final = 1e-6
MILLISECONDS: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Disturbed:
    """One round of a proxy."""

    alone_us: float
    beside_us: float
    """99th percentile without and with the slow reader."""

    grown_bytes: int
    """The most that the proxy's memory grew meanwhile."""

    @property
    def ratio(self) -> float:
        return self.beside_us / self.alone_us


class SlowReader:
    """A client that asks for everything and reads a little now and then, in a thread."""

    def __init__(self, door: Door) -> None:
        self._client = RawClient(door, USER)
        self._client.send_query(QUERY)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._sip)
        self.read_bytes = 0

    def start(self) -> None:
        """Begin to read and wait until nothing more fits between here and the server."""
        self._client.expect(b"T")
        self._thread.start()
        self._is_over.wait(SETTLE_SECONDS)

    def stop(self) -> None:
        """Leave in the middle of the result."""
        self._is_over.set()
        self._thread.join(JOIN_SECONDS)
        self._client.drop()

    def _sip(self) -> None:
        while not self._is_over.wait(SIP_SECONDS):
            self.read_bytes += len(self._client.socket.recv(SIP_BYTES))


def run(effort: Effort) -> list[Row]:
    """Measure each proxy with and without the slow reader."""
    with open_stage() as stage, stage.open_all() as doors:
        program = find_pgbench(stage.fleet)
        blocks = {n: partial(_disturbed, stage, program, door) for n, door in doors.items()}
        compared = SideBySide(interleaved(blocks, effort.rounds(ROUNDS), effort.progress))
    what = "p99 of 8 clients"
    return [
        *compared.each(f"{what} beside a slow reader / alone", "x", _ratio, bound=BOUND),
        *compared.each(f"{what}, alone", "ms", lambda one: one.alone_us * MILLISECONDS),
        *compared.each(
            f"{what}, beside a slow reader", "ms", lambda one: one.beside_us * MILLISECONDS
        ),
        *compared.each(
            "memory growth by a slow reader",
            "MB",
            lambda one: one.grown_bytes * MEGABYTES,
            bound=BOUND_MEGABYTES,
        ),
    ]


def _ratio(one: Disturbed) -> float:
    return one.ratio


def _disturbed(stage: ProxyStage, program: Path, door: Door) -> Disturbed:
    with stage.load_for(door):
        alone = run_pgbench(program, door, LOAD)
        reset_peak(door.pids)
        before = resident_bytes(door.pids)
        with _slow_reader(stage, door):
            beside = run_pgbench(program, door, LOAD)
        return Disturbed(alone.p99_us, beside.p99_us, peak_bytes(door.pids) - before)


@contextmanager
def _slow_reader(stage: ProxyStage, door: Door) -> Iterator[None]:
    """Have a slow reader for the block; the server must learn soon that it left."""
    reader = SlowReader(door)
    reader.start()
    try:
        yield
    finally:
        reader.stop()
    check(reader.read_bytes > 0, f"{door.name} sent the slow reader nothing")
    is_ended = until(lambda: stage.scalar(RUNNING) == 0, END_SECONDS)
    check(is_ended, f"{door.name}: the reader left, and {END_SECONDS:g} s later its query runs")
