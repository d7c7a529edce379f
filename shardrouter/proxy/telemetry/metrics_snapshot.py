"""What one worker has counted: the answer to the question ``metrics``. Plain JSON, no policy.

Counters only grow while a worker lives, gauges tell of now. ``metrics_export`` adds the workers
up; a worker fills this from its hot counters and imports nothing else for it.
"""

from typing import Final, Literal, TypedDict

BUCKETS: Final = 27
"""Buckets of every histogram. Bucket i counts durations whose whole microseconds have i bits
(``microseconds.bit_length()``): less than 2**i microseconds. The last takes all that is longer."""

BOUNDS_SECONDS: Final[tuple[float, ...]] = tuple((1 << i) / 1_000_000 for i in range(BUCKETS - 1))
"""Upper bounds of all buckets but the last: 1 us, 2 us, ... 33.6 s."""


class Histogram(TypedDict):
    """Durations. The count is the sum of the buckets."""

    buckets: list[int]
    sum_seconds: float


class RouteTally(TypedDict):
    """Counters of what went to one shard in one role since the worker started."""

    shard: str
    role: str
    """``primary`` or ``replica``: the role of the node that answered."""

    queries: dict[str, int]
    """By outcome: ``ok``, ``error`` (the server said so), ``lost`` (the backend broke),
    ``refused`` (the proxy said no)."""

    transactions: dict[str, int]
    """By outcome: ``committed``, ``rolled_back``, ``lost``. A statement outside a transaction is
    one."""

    bytes_in: int
    """From clients to backends."""

    bytes_out: int
    """From backends to clients."""

    latency: Histogram
    """From a query's last byte to its ReadyForQuery."""

    wait: Histogram
    """For a backend, of those who had to wait."""


class BackendGauge(TypedDict):
    """Backends of one node now, by state as in ``SHOW BACKENDS``."""

    shard: str
    node: str
    states: dict[str, int]


class NodeGauge(TypedDict):
    """What the worker's monitor saw of a node last."""

    shard: str
    node: str
    role: str
    up: bool
    lag_bytes: int | None
    lag_seconds: float | None


class PreparedTally(TypedDict):
    """The prepared statements of a worker's backends: three counters, one gauge."""

    hits: int
    misses: int
    evictions: int
    statements: int


class Snapshot(TypedDict):
    """One worker's numbers."""

    worker: int
    pid: int
    build: Literal["compiled", "pure"]
    epoch: int
    """Of the topology it serves; 0: none."""

    lease_seconds_left: float | None
    """None: a topology from a file, which holds for ever."""

    clients: int
    waiting: int
    held: int
    """Clients held because their slot is being handed over to another shard."""

    held_seconds: Histogram
    """How long clients were held, of those that are no more."""

    repeats: int
    """Counter of statements that were sent again after a shard's guard had refused them."""

    pinned: int
    logins: int
    """Counter of clients that were let in."""

    routes: list[RouteTally]
    backends: list[BackendGauge]
    nodes: list[NodeGauge]
    prepared: PreparedTally
    pins: dict[str, int]
    """Counter by reason, as ``SHOW CLIENTS`` tells it."""

    login_failures: dict[str, int]
    """Counter by reason: ``credentials``, ``rule``, ``timeout``, ``limit``, ``throttle``,
    ``protocol``, ``tls``."""

    freshness: dict[str, int]
    """Counter of replica reads by what answered: ``replica``, ``waited``, ``primary``."""

    loop_delay: Histogram
    """How late the event loop ran a timer."""


def empty_histogram() -> Histogram:
    """Return a histogram that has seen nothing."""
    return {"buckets": [0] * BUCKETS, "sum_seconds": 0.0}


def observe(histogram: Histogram, seconds: float) -> None:
    """Count one duration."""
    histogram["buckets"][bucket_of(seconds)] += 1
    histogram["sum_seconds"] += seconds


def bucket_of(seconds: float) -> int:
    """Return the bucket of a duration."""
    return min(BUCKETS - 1, max(0, int(seconds * 1_000_000)).bit_length())
