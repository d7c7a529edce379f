"""Write what the workers counted in the form Prometheus reads: added up, dead workers included.

Pure: snapshots in, text out. The parent asks the workers (``proxy.http``) and keeps a ``Retired``.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from shardrouter.proxy.telemetry.metrics_snapshot import (
    BOUNDS_SECONDS,
    Histogram,
    NodeGauge,
    RouteTally,
    Snapshot,
)
from shardrouter.proxy.telemetry.metrics_sums import (
    merged_routes,
    sum_of_counters,
    sum_of_histograms,
)
from shardrouter.proxy.telemetry.retired import Retired

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_PREFIX: Final = "shardrouter_proxy_"
_FIRST_BOUND: Final = 5  # 32 us: nothing over a socket takes less, so shorter ones share a bucket
_LABELS: Final = ("shard", "role")


def to_prometheus(snapshots: Sequence[Snapshot], retired: Retired) -> bytes:
    """Return the metrics of all workers together, in the text format of Prometheus.

    ``snapshots`` are the answers of the live workers. A worker that did not answer counts with
    its last answer, so that no counter ever goes backwards.
    """
    registry = CollectorRegistry(auto_describe=False)
    live = retired.living(snapshots)
    registry.register(_Workers(live, [*live, *retired.dead()], retired.restarts))
    return generate_latest(registry)


class _Workers(Collector):
    """The metric families: gauges of the live workers, counters of all that ever lived."""

    def __init__(self, live: Sequence[Snapshot], ever: Sequence[Snapshot], restarts: int) -> None:
        self._live = live
        self._ever = ever
        self._restarts = restarts

    def collect(self) -> Iterable[Metric]:
        yield from self._process()
        yield from self._clients()
        yield from _routes(merged_routes(self._ever))
        yield from self._backends()
        yield from self._nodes()
        yield from self._sessions()

    def _process(self) -> Iterator[Metric]:
        live = self._live
        yield _gauge("workers", "Worker processes that run", len(live))
        yield _counter(
            "worker_restarts", "Workers that were started again after they ended", self._restarts
        )
        builds = Counter(str(worker["build"]) for worker in live)
        yield _gauge_by("build_workers", "Workers by build of the hot modules", "build", builds)
        if live:
            # The lowest: an epoch that one worker lacks is not served yet.
            epoch = min(worker["epoch"] for worker in live)
            yield _gauge("epoch", "Topology epoch that every worker serves at least", epoch)
        leases = [s for w in live if (s := w["lease_seconds_left"]) is not None]
        if leases:
            yield _gauge(
                "lease_left_seconds", "Shortest lease on the topology, of all workers", min(leases)
            )
        yield _histogram(
            "event_loop_delay_seconds",
            "How late the event loops ran their timers",
            (),
            {(): sum_of_histograms(worker["loop_delay"] for worker in self._ever)},
        )

    def _clients(self) -> Iterator[Metric]:
        live = self._live
        yield _gauge("clients", "Clients connected", sum(w["clients"] for w in live))
        yield _gauge(
            "waiting_clients", "Clients that wait for a backend", sum(w["waiting"] for w in live)
        )
        yield _gauge(
            "held_clients",
            "Clients held while their slot is handed over",
            sum(w["held"] for w in live),
        )
        yield _histogram(
            "held_seconds",
            "How long clients were held while their slot was handed over",
            (),
            {(): sum_of_histograms(worker["held_seconds"] for worker in self._ever)},
        )
        yield _counter(
            "repeats",
            "Statements sent again after a guard's refusal",
            sum(worker["repeats"] for worker in self._ever),
        )
        yield _gauge(
            "pinned_clients", "Clients pinned to their backend", sum(w["pinned"] for w in live)
        )
        yield _counter("logins", "Clients that were let in", sum(w["logins"] for w in self._ever))
        failures = sum_of_counters(worker["login_failures"] for worker in self._ever)
        yield _counter_by("login_failures", "Refused logins by reason", "reason", failures)

    def _backends(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            f"{_PREFIX}backends",
            "Backends by node and state",
            labels=("shard", "node", "state"),
        )
        counts: Counter[tuple[str, str, str]] = Counter()
        for backends in (row for worker in self._live for row in worker["backends"]):
            for state, count in backends["states"].items():
                counts[backends["shard"], backends["node"], state] += count
        for labels, count in sorted(counts.items()):
            family.add_metric(labels, count)
        yield family

    def _nodes(self) -> Iterator[Metric]:
        labels = ("shard", "node", "role")
        up = GaugeMetricFamily(
            f"{_PREFIX}node_up", "1: some worker reaches the node", labels=labels
        )
        in_bytes = GaugeMetricFamily(
            f"{_PREFIX}replica_lag_bytes", "WAL a replica has not replayed", labels=labels
        )
        in_seconds = GaugeMetricFamily(
            f"{_PREFIX}replica_lag_seconds", "How far a replica is behind", labels=labels
        )
        for where, seen in sorted(_by_node(self._live).items()):
            up.add_metric(where, float(any(node["up"] for node in seen)))
            # The worst view of all workers: some client's read has to live with it.
            if lags := [lag for node in seen if (lag := node["lag_bytes"]) is not None]:
                in_bytes.add_metric(where, max(lags))
            if late := [time for node in seen if (time := node["lag_seconds"]) is not None]:
                in_seconds.add_metric(where, max(late))
        yield from (up, in_bytes, in_seconds)

    def _sessions(self) -> Iterator[Metric]:
        ever = self._ever
        yield _counter_by(
            "prepared_lookups",
            "Prepared statements looked up on a backend, by result",
            "result",
            {
                "hit": sum(worker["prepared"]["hits"] for worker in ever),
                "miss": sum(worker["prepared"]["misses"] for worker in ever),
            },
        )
        yield _counter(
            "prepared_evictions",
            "Prepared statements closed to make room",
            sum(worker["prepared"]["evictions"] for worker in ever),
        )
        yield _gauge(
            "prepared_statements",
            "Prepared statements on all backends",
            sum(worker["prepared"]["statements"] for worker in self._live),
        )
        pins = sum_of_counters(worker["pins"] for worker in ever)
        yield _counter_by("pins", "Clients pinned to their backend, by reason", "reason", pins)
        yield _counter_by(
            "replica_reads",
            "Reads meant for a replica, by what answered: replica, waited (a replica after a wait),"
            " primary",
            "outcome",
            sum_of_counters(worker["freshness"] for worker in ever),
        )


def _routes(routes: Mapping[tuple[str, str], RouteTally]) -> Iterator[Metric]:
    queries = {where: route["queries"] for where, route in routes.items()}
    transactions = {where: route["transactions"] for where, route in routes.items()}
    moved = {
        where: {"in": route["bytes_in"], "out": route["bytes_out"]}
        for where, route in routes.items()
    }
    for name, text, label, counts in (
        ("queries", "Queries by shard, role of the node and outcome", "outcome", queries),
        ("transactions", "Transactions by shard, role and outcome", "outcome", transactions),
        ("bytes", "Bytes relayed: in, from clients; out, to clients", "direction", moved),
    ):
        family = CounterMetricFamily(_PREFIX + name, text, labels=(*_LABELS, label))
        for where, by_label in sorted(counts.items()):
            for value, count in sorted(by_label.items()):
                family.add_metric((*where, value), count)
        yield family
    yield _histogram(
        "query_seconds",
        "From a query's last byte to its ReadyForQuery",
        _LABELS,
        {where: route["latency"] for where, route in routes.items()},
    )
    yield _histogram(
        "wait_seconds",
        "How long clients waited for a backend, of those who had to",
        _LABELS,
        {where: route["wait"] for where, route in routes.items()},
    )


def _by_node(live: Sequence[Snapshot]) -> dict[tuple[str, str, str], list[NodeGauge]]:
    seen: dict[tuple[str, str, str], list[NodeGauge]] = {}
    for node in (row for worker in live for row in worker["nodes"]):
        seen.setdefault((node["shard"], node["node"], node["role"]), []).append(node)
    return seen


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(_PREFIX + name, text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(_PREFIX + name, text, value=value)


def _counter_by(name: str, text: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(_PREFIX + name, text, labels=(label,))
    for value, count in sorted(counts.items()):
        family.add_metric((value,), count)
    return family


def _gauge_by(name: str, text: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(_PREFIX + name, text, labels=(label,))
    for value, count in sorted(counts.items()):
        family.add_metric((value,), count)
    return family


def _histogram(
    name: str,
    text: str,
    labels: Sequence[str],
    histograms: Mapping[tuple[str, ...], Histogram],
) -> Metric:
    family = HistogramMetricFamily(_PREFIX + name, text, labels=labels)
    for where, histogram in sorted(histograms.items()):
        family.add_metric(where, _cumulative(histogram), histogram["sum_seconds"])
    return family


def _cumulative(histogram: Histogram) -> list[tuple[str, float]]:
    """Return the counts as Prometheus wants them: of all durations up to each bound."""
    sums = list(accumulate(histogram["buckets"]))
    bounds = [f"{bound:.6g}" for bound in BOUNDS_SECONDS[_FIRST_BOUND:]]
    return list(zip([*bounds, "+Inf"], map(float, sums[_FIRST_BOUND:]), strict=True))
