"""Processor time of a login with SCRAM-SHA-256: connect, prove, ready, goodbye.

Some clients at once, on bare sockets with their keys ready. The proxies know the verifier from a
file and no password. A thousand a second and core is a millisecond each.

Hypothesis: five hashes and two HMACs a login are some 20 us; the rest is accept, a dozen messages
and the objects of a client, 300 us in all.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Final

from benchmarks.measure import check
from benchmarks.proxy.accounting import cpu_time
from benchmarks.proxy.doors import Door
from benchmarks.proxy.raw_client import RawClient
from benchmarks.proxy.side_by_side import SideBySide, interleaved
from benchmarks.proxy.stage import LOGIN_USER, ProxyStage, open_stage
from benchmarks.rows import Row
from benchmarks.suite import Effort

BOUND_MILLISECONDS: Final = 1.0
LOGINS: Final = 1000
AT_ONCE: Final = 8
ROUNDS: Final = 9
MILLISECONDS: Final = 1e3


@dataclass(frozen=True, slots=True)
class Logins:
    """One round of a proxy."""

    cpu_seconds: float
    """For each login."""

    per_second: float


def run(effort: Effort) -> list[Row]:
    """Log in at each proxy."""
    with open_stage() as stage, stage.open_all() as doors:
        blocks = {name: partial(_log_in, stage, door) for name, door in doors.items()}
        compared = SideBySide(interleaved(blocks, effort.rounds(ROUNDS), effort.progress))
    what = "CPU per login with SCRAM"
    return [
        *compared.each(what, "ms", _cpu_milliseconds, bound=BOUND_MILLISECONDS),
        *compared.against_peer(what, _cpu_milliseconds, None),
        *compared.each("logins per second of CPU", "1/s", lambda one: 1 / one.cpu_seconds),
        *compared.each(f"logins per second, {AT_ONCE} at once", "1/s", lambda one: one.per_second),
    ]


def _cpu_milliseconds(one: Logins) -> float:
    return one.cpu_seconds * MILLISECONDS


def _log_in(stage: ProxyStage, door: Door) -> Logins:
    def once(_: int) -> bool:
        RawClient(door, LOGIN_USER, stage.login_keys).close()
        return True

    with stage.load_for(door), ThreadPoolExecutor(AT_ONCE) as threads:
        before, start = cpu_time(door.pids), perf_counter()
        done = sum(threads.map(once, range(LOGINS)))
        seconds, used = perf_counter() - start, cpu_time(door.pids) - before
    check(done == LOGINS, f"only {done} of {LOGINS} logins at {door.name}")
    return Logins(used.total / LOGINS, LOGINS / seconds)
