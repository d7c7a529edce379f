"""The rows of SHOW: what each worker answers to the question ``show``, and how they are merged.

Pure: plain JSON rows in, rows out. A worker makes its rows in ``census_rows``; the commands in
``admin/`` ask every worker and print what this merges.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypedDict

from shardrouter.proxy.telemetry.metrics_snapshot import Snapshot
from shardrouter.proxy.telemetry.metrics_sums import merged_routes, quantile_seconds

Row = Mapping[str, Any]


class ClientRow(TypedDict):
    """One client. Its number is unique over all workers: KILL takes it."""

    worker: int
    id: int
    user: str
    database: str
    address: str
    state: str
    """``login``, ``idle``, ``active``, ``waiting`` (for a backend), ``held`` (its slot is being
    handed over to another shard), ``in transaction``."""

    shard: str | None
    node: str | None
    """Of the backend it holds."""

    pinned: str | None
    """Why it keeps its backend; None: it does not."""

    wait_ms: float | None
    """How long it has been waiting for a backend, or was held."""

    age_seconds: float
    queries: int
    application_name: str


class BackendRow(TypedDict):
    """One connection to a node."""

    worker: int
    node: str
    shard: str
    user: str
    pid: int
    """As in ``pg_stat_activity`` of the node."""

    state: str
    """``opening``, ``idle``, ``active``, ``in transaction``, ``preparing`` (settings or prepared
    statements are replayed), ``closing``."""

    client: int | None
    age_seconds: float
    idle_seconds: float | None
    prepared: int
    """Prepared statements on it."""

    replays: int
    """How often a client's session state was put on it."""


class PoolRow(TypedDict):
    """The backends of one user on one node."""

    node: str
    shard: str
    role: str
    user: str
    database: str
    mode: str
    idle: int
    active: int
    waiting: int
    """Clients that wait."""

    opening: int
    size: int
    """The bound, over all workers."""

    paused: bool
    wait_max_ms: float
    """Of the clients that wait now."""


class NodeRow(TypedDict):
    """One node as a worker sees it."""

    node: str
    shard: str
    role: str
    """As the topology says."""

    seen_role: str | None
    """As the node says."""

    state: str
    """``up``, ``down``, ``backing off`` (no new backends for a while), ``unknown``."""

    lag_bytes: int | None
    lag_seconds: float | None
    position: str | None
    """Timeline and LSN."""

    backends: int
    back_off_seconds: float | None
    problem: str | None


class ShardRow(TypedDict):
    """One shard of the topology a worker serves."""

    shard: str
    slots: int
    primary: str
    replicas: list[str]
    up: bool
    """Its primary is reached and may be written."""

    epoch: int


class MoveRow(TypedDict):
    """Slots in motion, as the topology says that a worker serves."""

    move: int
    """Its number, as in ``shardrouter move show``."""

    source: str
    target: str
    slots: int
    motion: str
    """``copying``, ``paused`` (writers are held) or ``moved``."""

    owner: str
    held: int
    """Clients that wait for it."""

    epoch: int


class LeaseRow(TypedDict):
    """How long a worker trusts its topology."""

    worker: int
    pid: int
    epoch: int
    seconds_left: float | None
    """None: a topology from a file, which holds for ever."""

    source: str
    """``catalog`` or ``file``."""

    problem: str | None


COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "clients": tuple(ClientRow.__annotations__),
    "backends": tuple(BackendRow.__annotations__),
    "pools": tuple(PoolRow.__annotations__),
    "nodes": tuple(NodeRow.__annotations__),
    "shards": tuple(ShardRow.__annotations__),
    "moves": tuple(MoveRow.__annotations__),
    "leases": tuple(LeaseRow.__annotations__),
}
"""The columns of each ``show(what)``, in the order they are printed."""

STATS_COLUMNS: Final = (
    "shard",
    "role",
    "queries",
    "transactions",
    "errors",
    "bytes_in",
    "bytes_out",
    "query_p50_ms",
    "query_p99_ms",
    "wait_p99_ms",
)


def merged(what: str, answers: Iterable[Sequence[Row]]) -> list[Row]:
    """Return the rows of all workers as one table, sorted."""
    rows = [row for answer in answers for row in answer]
    key = _KEYS[what]
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[column] for column in key), []).append(row)
    merge = _MERGES.get(what, {})
    return [
        {**_first(what, group), **{column: how(group, column) for column, how in merge.items()}}
        for _, group in sorted(groups.items())
    ]


def stats(snapshots: Iterable[Snapshot]) -> list[Row]:
    """Return the rows of SHOW STATS: what the live workers counted since they started."""
    rows: list[Row] = []
    for (shard, role), route in sorted(merged_routes(snapshots).items()):
        figures = (
            shard,
            role,
            sum(route["queries"].values()),
            sum(route["transactions"].values()),
            sum(count for outcome, count in route["queries"].items() if outcome != "ok"),
            route["bytes_in"],
            route["bytes_out"],
            _ms(quantile_seconds(route["latency"], 0.5)),
            _ms(quantile_seconds(route["latency"], 0.99)),
            _ms(quantile_seconds(route["wait"], 0.99)),
        )
        rows.append(dict(zip(STATS_COLUMNS, figures, strict=True)))
    return rows


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


def _first(what: str, group: Sequence[Row]) -> Row:
    """Return the row that speaks for the columns which are not merged: of the newest epoch."""
    is_of_epoch = "epoch" in COLUMNS[what]
    row = max(group, key=lambda each: each["epoch"]) if is_of_epoch else group[0]
    return {column: row[column] for column in COLUMNS[what]}


def _sum(group: Sequence[Row], column: str) -> Any:
    return sum(row[column] for row in group)


def _most(group: Sequence[Row], column: str) -> Any:
    return max((row[column] for row in group if row[column] is not None), default=None)


def _least(group: Sequence[Row], column: str) -> Any:
    return min(row[column] for row in group)


def _all(group: Sequence[Row], column: str) -> bool:
    return all(row[column] for row in group)


def _any(group: Sequence[Row], column: str) -> bool:
    return any(row[column] for row in group)


def _distinct(group: Sequence[Row], column: str) -> str | None:
    """Return what the workers say; where they differ, everything that is said."""
    said = sorted({row[column] for row in group if row[column] is not None})
    return " / ".join(said) or None


Merge = Callable[[Sequence[Row], str], Any]

_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "clients": ("worker", "id"),
    "backends": ("worker", "node", "user", "pid"),
    "pools": ("node", "user", "database"),
    "nodes": ("shard", "node"),
    "shards": ("shard",),
    "moves": ("move",),
    "leases": ("worker", "pid"),
}
_MERGES: Final[Mapping[str, Mapping[str, Merge]]] = {
    "pools": {
        **dict.fromkeys(("idle", "active", "waiting", "opening"), _sum),
        **dict.fromkeys(("size", "wait_max_ms"), _most),
        "paused": _any,
    },
    "nodes": {
        **dict.fromkeys(("seen_role", "state", "problem"), _distinct),
        **dict.fromkeys(("lag_bytes", "lag_seconds", "back_off_seconds"), _most),
        "backends": _sum,
    },
    "shards": {"up": _all, "epoch": _least},
    "moves": {"held": _sum, "epoch": _least},
}
