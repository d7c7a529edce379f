"""Snapshots of proxy workers, as they answer the question ``metrics``."""

from typing import Any, cast

from shardrouter.proxy.telemetry.metrics_snapshot import (
    Histogram,
    RouteTally,
    Snapshot,
    empty_histogram,
    observe,
)


def histogram(*seconds: float) -> Histogram:
    """Return a histogram of the durations."""
    made = empty_histogram()
    for each in seconds:
        observe(made, each)
    return made


def route(shard: str = "s0", role: str = "primary", **changes: Any) -> RouteTally:
    """Return what a worker counted of one shard and role."""
    tally = {
        "shard": shard,
        "role": role,
        "queries": {"ok": 10, "error": 1},
        "transactions": {"committed": 9, "rolled_back": 2},
        "bytes_in": 100,
        "bytes_out": 1000,
        "latency": histogram(*[0.001] * 11),
        "wait": empty_histogram(),
    }
    return cast("RouteTally", tally | changes)


def snapshot(pid: int = 101, **changes: Any) -> Snapshot:
    """Return a worker's numbers."""
    made = {
        "worker": 0,
        "pid": pid,
        "build": "compiled",
        "epoch": 7,
        "lease_seconds_left": 12.5,
        "clients": 5,
        "waiting": 1,
        "held": 3,
        "held_seconds": histogram(0.02),
        "repeats": 1,
        "pinned": 2,
        "logins": 20,
        "routes": [route()],
        "backends": [{"shard": "s0", "node": "s0-p", "states": {"idle": 3, "active": 1}}],
        "nodes": [
            {
                "shard": "s0",
                "node": "s0-r1",
                "role": "replica",
                "up": True,
                "lag_bytes": 128,
                "lag_seconds": 0.25,
            }
        ],
        "prepared": {"hits": 8, "misses": 2, "evictions": 1, "statements": 4},
        "pins": {"listen": 1},
        "login_failures": {"credentials": 3},
        "freshness": {"replica": 6, "waited": 2, "primary": 1},
        "loop_delay": histogram(0.0001),
    }
    return cast("Snapshot", made | changes)
