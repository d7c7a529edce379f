"""How fast a copy may go, and when copying and deleting must rest.

``ByteBucket`` and the rules think; ``Strain`` asks shards now and then.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy import Connection

from shardrouter.config import RebalanceSettings
from shardrouter.postgres.moving import StandbyPosition, standby_positions

MB: Final = 1024 * 1024
BURST_SECONDS: Final = 0.25  # what a bucket may save up
PROBES: Final = 100  # the window of the p99: at 20 a second, 5 seconds
LOOK_EVERY_SECONDS: Final = 0.5
PROBE_EVERY_SECONDS: Final = 0.05

# A tiny commit: it waits for the disk as the writers of the shard do, and leaves no row.
PROBE_SQL: Final = "SELECT pg_catalog.pg_logical_emit_message(true, 'shardrouter', '')"


class ByteBucket:
    """A token bucket: bytes a second, shared by threads."""

    def __init__(
        self,
        rate: Callable[[], int | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = clock()

    def take(self, size: int) -> float:
        """Take bytes out; return how many seconds the caller must wait before it takes more."""
        rate = self._rate()
        now = self._clock()
        if not rate:
            return 0.0
        with self._lock:
            begin = max(self._free_at, now - BURST_SECONDS)
            self._free_at = begin + size / rate
            return max(0.0, self._free_at - now)


def percentile(values: Sequence[float], part: float) -> float:
    """Return the smallest value that so large a part of the values does not exceed."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


class Strain:
    """Looks at shards now and then, and says what a copy or a deletion must rest for."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._look_at = float("-inf")
        self._probe_at = float("-inf")
        self._latencies: deque[float] = deque(maxlen=PROBES)
        self._reason: str | None = None

    def look(self, connections: Sequence[Connection], settings: RebalanceSettings) -> str | None:
        """Return why to rest, or None. The connections have no transaction open."""
        now = self._clock()
        if settings.max_p99_ms is not None and now >= self._probe_at:
            self._probe_at = now + PROBE_EVERY_SECONDS
            self._latencies.extend(self._probe(connection) for connection in connections)
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY_SECONDS
            self._reason = self._lag(connections, settings.max_replica_lag_mb * MB)
        return self._reason or slowness(self._latencies, settings.max_p99_ms)

    def _probe(self, connection: Connection) -> float:
        begun = self._clock()
        with connection.begin():
            connection.exec_driver_sql(PROBE_SQL)
        return self._clock() - begun

    @staticmethod
    def _lag(connections: Sequence[Connection], most_bytes: int) -> str | None:
        for connection in connections:
            with connection.begin():
                late = lagging(standby_positions(connection), most_bytes)
            if late:
                return late
        return None


def slowness(latencies: Sequence[float], max_p99_ms: float | None) -> str | None:
    """Return the reason to rest when probes take too long. Pure."""
    if max_p99_ms is None or not latencies:
        return None
    p99_ms = percentile(latencies, 0.99) * 1000
    return (
        f"a p99 of {p99_ms:.1f} ms, {max_p99_ms:g} ms are allowed" if p99_ms > max_p99_ms else None
    )


def lagging(standbys: Sequence[StandbyPosition], most_bytes: int) -> str | None:
    """Return the reason to rest when a replica is too far behind. Pure."""
    for standby in standbys:
        if standby.replay_lag_bytes > most_bytes:
            return f"replica {standby.name}, {standby.replay_lag_bytes // MB} MB behind"
    return None
