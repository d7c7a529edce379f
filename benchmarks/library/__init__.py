"""Suite ``library``: what routing inside the service process costs."""

from typing import Final

from benchmarks.library import (
    fleet_start,
    gather_top,
    key_path,
    point_select,
    router_memory,
    unit_of_work,
)
from benchmarks.suite import Benchmark

BENCHMARKS: Final = (
    Benchmark("key path", key_path.run, is_repeated_pure=True),
    Benchmark("unit of work", unit_of_work.run, is_repeated_pure=True),
    Benchmark("point select", point_select.run, is_repeated_pure=True),
    Benchmark("gather", gather_top.run, is_repeated_pure=True),
    Benchmark("fleet start", fleet_start.run, is_repeated_pure=False),
    Benchmark("router memory", router_memory.run, is_repeated_pure=False),
)
