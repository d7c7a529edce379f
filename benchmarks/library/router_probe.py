"""Open a Router in this process and print as JSON what it takes: run by ``router_memory``."""

import argparse
import gc
import json
import resource
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic, process_time, sleep
from typing import Final

from shardrouter import Router

IDLE_SECONDS: Final = 3.0
SETTLE_SECONDS: Final = 1.0
"""Until every loop has run once: what is made on first use is there then."""

STATM: Final = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True)
class Probe:
    """What one process found."""

    shards: int
    nodes_up: int
    open_seconds: float
    opened_bytes: int
    """Growth by opening the router."""

    used_bytes: int
    """Growth with a connection open to every primary as well."""

    traced_bytes: int
    """Python objects alone, as tracemalloc counts them; 0 unless asked for."""

    idle_cpu_share: float


def probe(settings: Path, is_traced: bool) -> Probe:
    """Measure one router."""
    if is_traced:
        tracemalloc.start()
    size = _traced if is_traced else resident
    gc.collect()
    before = size()
    opened_at = monotonic()
    with Router.from_config(settings) as router:
        open_seconds = monotonic() - opened_at
        sleep(SETTLE_SECONDS)
        gc.collect()
        opened = size() - before
        idle = _idle_cpu_share()
        up = sum(sample.is_up for sample in router.fleet_view.samples.values())
        _use_each_shard(router)
        gc.collect()
        return Probe(
            shards=len(router.topology.shards),
            nodes_up=up,
            open_seconds=open_seconds,
            opened_bytes=opened,
            used_bytes=size() - before,
            traced_bytes=opened if is_traced else 0,
            idle_cpu_share=idle,
        )


def resident() -> int:
    """Return the bytes of memory this process holds; the most it held where there is no /proc."""
    if STATM.exists():
        return int(STATM.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _traced() -> int:
    return tracemalloc.get_traced_memory()[0]


def _idle_cpu_share() -> float:
    wall, used = monotonic(), process_time()
    sleep(IDLE_SECONDS)
    return (process_time() - used) / (monotonic() - wall)


def _use_each_shard(router: Router) -> None:
    for shard in router.topology.shards:
        with router.connection(shard=shard.id) as connection:
            connection.execute("SELECT 1")


def main(write: Callable[[str], object] = sys.stdout.write) -> None:
    """Run as a program: SETTINGS [--trace]."""
    parser = argparse.ArgumentParser(prog="benchmarks.library.router_probe")
    parser.add_argument("settings", type=Path)
    parser.add_argument("--trace", action="store_true")
    asked = parser.parse_args()
    write(json.dumps(asdict(probe(asked.settings, asked.trace))))


if __name__ == "__main__":
    main()
