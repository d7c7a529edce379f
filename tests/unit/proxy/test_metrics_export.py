"""What the workers counted, as Prometheus reads it."""

import math

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shardrouter.proxy.telemetry.metrics_export import to_prometheus
from shardrouter.proxy.telemetry.metrics_snapshot import (
    BOUNDS_SECONDS,
    BUCKETS,
    Snapshot,
    bucket_of,
)
from shardrouter.proxy.telemetry.metrics_sums import quantile_seconds
from shardrouter.proxy.telemetry.retired import Retired
from tests.support.proxy_snapshots import histogram, route, snapshot

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples_of(text: bytes) -> Samples:
    return {
        (sample.name.removeprefix("shardrouter_proxy_"), tuple(sorted(sample.labels.items()))): (
            sample.value
        )
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def exported(*snapshots: Snapshot, retired: Retired | None = None) -> Samples:
    retired = retired or Retired()
    for each in snapshots:
        retired.born(each["pid"])
    return samples_of(to_prometheus(snapshots, retired))


def labels(**values: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(values.items()))


def test_workers_are_added_up() -> None:
    found = exported(snapshot(1), snapshot(2, clients=7, worker=1))
    assert found["workers", ()] == 2
    assert found["clients", ()] == 12
    assert found["waiting_clients", ()] == 2
    assert found["pinned_clients", ()] == 4
    assert found["logins_total", ()] == 40
    primary = {"shard": "s0", "role": "primary"}
    assert found["queries_total", labels(**primary, outcome="ok")] == 20
    assert found["transactions_total", labels(**primary, outcome="rolled_back")] == 4
    assert found["bytes_total", labels(**primary, direction="in")] == 200
    assert found["bytes_total", labels(**primary, direction="out")] == 2000
    assert found["backends", labels(shard="s0", node="s0-p", state="idle")] == 6
    assert found["prepared_lookups_total", labels(result="hit")] == 16
    assert found["prepared_lookups_total", labels(result="miss")] == 4
    assert found["prepared_evictions_total", ()] == 2
    assert found["prepared_statements", ()] == 8
    assert found["pins_total", labels(reason="listen")] == 2
    assert found["login_failures_total", labels(reason="credentials")] == 6
    assert found["replica_reads_total", labels(outcome="waited")] == 4
    assert found["build_workers", labels(build="compiled")] == 2


def test_the_worst_view_of_all_workers_counts() -> None:
    far = snapshot(2, epoch=6, lease_seconds_left=3.0)
    far["nodes"][0]["lag_bytes"] = 4096
    far["nodes"][0]["lag_seconds"] = None
    found = exported(snapshot(1), far)
    where = labels(shard="s0", node="s0-r1", role="replica")
    assert found["replica_lag_bytes", where] == 4096
    assert found["replica_lag_seconds", where] == 0.25
    assert found["node_up", where] == 1
    assert found["epoch", ()] == 6
    assert found["lease_left_seconds", ()] == 3.0


def test_a_topology_from_a_file_has_no_lease() -> None:
    assert ("lease_left_seconds", ()) not in exported(snapshot(lease_seconds_left=None))


def test_without_workers_there_is_still_an_answer() -> None:
    found = exported()
    assert found["workers", ()] == 0
    assert ("epoch", ()) not in found


def test_histograms_are_cumulative_and_end_with_all() -> None:
    tally = route(latency=histogram(0.0000005, 0.001, 0.002, 100.0))
    found = exported(snapshot(1, routes=[tally]), snapshot(2, routes=[tally]))
    of = {"shard": "s0", "role": "primary"}
    buckets = {
        float(dict(where)["le"]): value
        for (name, where), value in found.items()
        if name == "query_seconds_bucket"
    }
    counts = [buckets[bound] for bound in sorted(buckets)]
    assert counts == sorted(counts)
    assert buckets[math.inf] == found["query_seconds_count", labels(**of)] == 8
    assert min(buckets) == pytest.approx(32e-6)
    assert buckets[min(buckets)] == 2  # what is shorter than the first bound is not lost
    assert found["query_seconds_sum", labels(**of)] == pytest.approx(200.006, rel=1e-3)


def test_counters_of_a_dead_worker_stay_counted() -> None:
    retired = Retired()
    before = exported(snapshot(1), snapshot(2), retired=retired)
    retired.bury(1)
    retired.born(3, is_restart=True)
    after = samples_of(to_prometheus([snapshot(2)], retired))
    assert after["logins_total", ()] == before["logins_total", ()] == 40
    assert after["clients", ()] == 5
    assert after["workers", ()] == 1
    assert after["worker_restarts_total", ()] == 1
    assert not falling_counters(before, after)


def test_two_dead_workers_are_added() -> None:
    retired = Retired()
    exported(snapshot(1), snapshot(2), snapshot(3), retired=retired)
    retired.bury(1)
    retired.bury(2)
    found = samples_of(to_prometheus([snapshot(3)], retired))
    assert found["logins_total", ()] == 60
    primary = {"shard": "s0", "role": "primary"}
    assert found["query_seconds_count", labels(**primary)] == 33


def test_a_silent_worker_counts_with_its_last_answer() -> None:
    retired = Retired()
    before = exported(snapshot(1), snapshot(2), retired=retired)
    after = samples_of(to_prometheus([snapshot(2, logins=25)], retired))
    assert after["logins_total", ()] == 45
    assert not falling_counters(before, after)


def test_an_answer_that_comes_after_the_burial_is_not_counted_twice() -> None:
    retired = Retired()
    exported(snapshot(1), retired=retired)
    retired.bury(1)
    found = samples_of(to_prometheus([snapshot(1)], retired))
    assert found["logins_total", ()] == 20
    assert found["workers", ()] == 0


def test_a_worker_that_died_before_it_answered_is_nothing() -> None:
    retired = Retired()
    retired.born(1)
    retired.bury(1)
    retired.bury(99)  # never heard of
    assert retired.dead() == []


def test_label_values_cannot_break_the_format() -> None:
    found = exported(snapshot(pins={'a"b\n}c\\': 1}))
    assert found["pins_total", labels(reason='a"b\n}c\\')] == 1


@pytest.mark.parametrize("number", range(BUCKETS - 1))
def test_a_bucket_ends_below_its_bound(number: int) -> None:
    bound = BOUNDS_SECONDS[number]
    assert bucket_of(bound - 0.6e-6) <= number
    assert bucket_of(bound + 0.1e-6) == number + 1


def test_what_is_very_long_or_negative_has_a_bucket() -> None:
    assert bucket_of(1e9) == BUCKETS - 1
    assert bucket_of(-1.0) == 0


@pytest.mark.parametrize(
    ("seconds", "share", "least", "most"),
    [
        ([], 0.5, None, None),
        ([0.001] * 100, 0.5, 0.000512, 0.001024),
        ([0.001] * 98 + [1.0] * 2, 0.99, 0.52, 1.05),
        ([1000.0], 0.5, BOUNDS_SECONDS[-1], BOUNDS_SECONDS[-1]),
        ([0.0], 0.99, 0.0, 0.000001),
    ],
)
def test_quantiles(
    seconds: list[float], share: float, least: float | None, most: float | None
) -> None:
    found = quantile_seconds(histogram(*seconds), share)
    if least is None or most is None:
        assert found is None
    else:
        assert found is not None
        assert least <= found <= most


def falling_counters(before: Samples, after: Samples) -> list[str]:
    return [
        name
        for (name, where), value in before.items()
        if name.endswith(("_total", "_count", "_bucket", "_sum"))
        and after.get((name, where), 0.0) < value
    ]
