"""Add up what workers counted, and read quantiles off a histogram. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from shardrouter.proxy.telemetry.metrics_snapshot import (
    BOUNDS_SECONDS,
    Histogram,
    RouteTally,
    Snapshot,
    empty_histogram,
)


def merged_routes(snapshots: Iterable[Snapshot]) -> dict[tuple[str, str], RouteTally]:
    """Return one tally a shard and role, over all workers."""
    merged: dict[tuple[str, str], RouteTally] = {}
    for route in (row for worker in snapshots for row in worker["routes"]):
        where = (route["shard"], route["role"])
        merged[where] = _sum_of_routes(merged[where], route) if where in merged else route
    return merged


def sum_of_counters(counters: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the sums by name."""
    total: Counter[str] = Counter()
    for counter in counters:
        total.update(counter)
    return dict(total)


def sum_of_histograms(histograms: Iterable[Histogram]) -> Histogram:
    """Return the histogram of all durations together."""
    total = empty_histogram()
    for histogram in histograms:
        pairs = zip(total["buckets"], histogram["buckets"], strict=True)
        total = {
            "buckets": [mine + other for mine, other in pairs],
            "sum_seconds": total["sum_seconds"] + histogram["sum_seconds"],
        }
    return total


def only_counters(snapshots: Sequence[Snapshot]) -> Snapshot:
    """Return the sum of the snapshots' counters; every gauge is empty."""
    return {
        "worker": -1,
        "pid": 0,
        "build": snapshots[0]["build"],
        "epoch": 0,
        "lease_seconds_left": None,
        "clients": 0,
        "waiting": 0,
        "held": 0,
        "held_seconds": sum_of_histograms(s["held_seconds"] for s in snapshots),
        "repeats": sum(s["repeats"] for s in snapshots),
        "pinned": 0,
        "logins": sum(s["logins"] for s in snapshots),
        "routes": list(merged_routes(snapshots).values()),
        "backends": [],
        "nodes": [],
        "prepared": {
            "hits": sum(s["prepared"]["hits"] for s in snapshots),
            "misses": sum(s["prepared"]["misses"] for s in snapshots),
            "evictions": sum(s["prepared"]["evictions"] for s in snapshots),
            "statements": 0,
        },
        "pins": sum_of_counters(s["pins"] for s in snapshots),
        "login_failures": sum_of_counters(s["login_failures"] for s in snapshots),
        "freshness": sum_of_counters(s["freshness"] for s in snapshots),
        "loop_delay": sum_of_histograms(s["loop_delay"] for s in snapshots),
    }


def quantile_seconds(histogram: Histogram, share: float) -> float | None:
    """Return below what the share of durations lies, None for an empty histogram.

    Between the bounds of a bucket it is a straight line; the last bucket gives its lower bound.
    """
    buckets = histogram["buckets"]
    rank = share * sum(buckets)
    if not rank:
        return None
    below = 0
    for number, count in enumerate(buckets):
        if count and below + count >= rank:
            lower = BOUNDS_SECONDS[number - 1] if number else 0.0
            if number == len(BOUNDS_SECONDS):
                return lower
            return lower + (BOUNDS_SECONDS[number] - lower) * (rank - below) / count
        below += count
    return BOUNDS_SECONDS[-1]


def _sum_of_routes(one: RouteTally, other: RouteTally) -> RouteTally:
    return {
        "shard": one["shard"],
        "role": one["role"],
        "queries": sum_of_counters((one["queries"], other["queries"])),
        "transactions": sum_of_counters((one["transactions"], other["transactions"])),
        "bytes_in": one["bytes_in"] + other["bytes_in"],
        "bytes_out": one["bytes_out"] + other["bytes_out"],
        "latency": sum_of_histograms((one["latency"], other["latency"])),
        "wait": sum_of_histograms((one["wait"], other["wait"])),
    }
