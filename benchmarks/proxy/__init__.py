"""Suite ``proxy``: what the proxy costs, beside PgBouncer and no proxy at all."""

from typing import Final

from benchmarks.proxy import bulk, idle_clients, logins, query_cost, shared_cpus, slow_reader
from benchmarks.suite import Benchmark

BENCHMARKS: Final = (
    Benchmark("query cost", query_cost.run, is_repeated_pure=False),
    Benchmark("shared CPUs", shared_cpus.run, is_repeated_pure=False),
    Benchmark("idle clients", idle_clients.run, is_repeated_pure=False),
    Benchmark("logins", logins.run, is_repeated_pure=False),
    Benchmark("bulk", bulk.run, is_repeated_pure=False),
    Benchmark("slow reader", slow_reader.run, is_repeated_pure=False),
)
"""Compiled and pure run in the same rounds, so nothing is repeated in a process of its own."""
