"""Keep a safe copy within its limits: tell the sessions that copy when to rest and to nap.

They are Postgres' own and know nothing of us; see ``postgres.moving.pace`` for how they ask.
"""

from typing import Final

from shardrouter.postgres.moving import HOLDS_SECONDS, ROWS_BETWEEN, rest
from shardrouter.rebalance.copying.throttle import ByteBucket, Strain
from shardrouter.rebalance.job import Job

STRAINED_SECONDS: Final = 0.3  # a rest, renewed for as long as a shard is strained
LONGEST_SECONDS: Final = 2.0  # should nobody be there to end it
RENEW_SECONDS: Final = 0.1  # before it is over
MANY_ROWS: Final = 1000  # tell how large a row is


class Nap:
    """How long to nap, so that a limit of latency is not broken first. Thinks only.

    A copy at full speed between two rests would break it each time. So it begins slowly and goes
    ever faster, as TCP does, and half as fast whenever it broke the limit nevertheless.
    """

    FIRST_SECONDS: Final = 0.004
    SHORTEST_SECONDS: Final = 0.001  # Postgres sleeps for no less
    LONGEST_SECONDS: Final = 0.256
    KEPT_A_LOOK: Final = 0.993  # at 20 looks a second: half of it in 5 seconds

    def __init__(self) -> None:
        self.seconds = self.FIRST_SECONDS
        self._was_strained = False

    def look(self, is_strained: bool) -> float:
        """Return how long to nap now. Called with what a look at the shards has found."""
        if not is_strained:
            self.seconds = max(self.seconds * self.KEPT_A_LOOK, self.SHORTEST_SECONDS / 2)
        elif not self._was_strained:
            self.seconds = min(2 * self.seconds, self.LONGEST_SECONDS)
        self._was_strained = is_strained
        return self.seconds if self.seconds >= self.SHORTEST_SECONDS else 0.0


def nap_for_rate(rate: int | None, row_bytes: float) -> float:
    """Return how long to nap at every question so that a copy keeps to bytes a second. Pure.

    That is a little too long: copying the rows takes time as well.
    """
    return ROWS_BETWEEN * row_bytes / rate if rate else 0.0


class Rests:
    """What a first copy was told last, and what it is to be told."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._bucket = ByteBucket(lambda: job.settings.max_bytes_per_second, job.clock)
        self._strain = Strain(job.clock)
        self._nap = Nap()
        self._copied: int | None = None
        self._rests_until = self._holds_until = float("-inf")
        self._told = 0.0

    def begin(self) -> None:
        """Tell how long to nap, before there is a copy: a small one would be over too soon."""
        self._tell(0.0, self._nap_seconds(0, 0, is_strained=False))

    def keep(self, rows: int, size: int) -> str | None:
        """Look at the limits; return what the copy rests for, or None.

        rows, size: what has arrived so far, in rows and bytes. What came before the first call,
        perhaps while nobody carried the move out, is not held against the copy.
        """
        job, move = self._job, self._job.move
        strained = self._strain.look([job.on(move.source), job.on(move.target)], job.settings)
        before = size if self._copied is None else self._copied
        owed = self._bucket.take(max(0, size - before))
        self._copied = max(size, before)
        seconds = min(max(owed, STRAINED_SECONDS if strained else 0.0), LONGEST_SECONDS)
        nap = self._nap_seconds(rows, size, is_strained=strained is not None)
        self._tell(seconds, nap)
        most = job.settings.max_bytes_per_second
        if strained is None and most and (owed > 0 or nap > 0):
            return f"{most} bytes a second"
        return strained

    def _nap_seconds(self, rows: int, size: int, *, is_strained: bool) -> float:
        settings = self._job.settings
        nap = nap_for_rate(settings.max_bytes_per_second, self._row_bytes(rows, size))
        if settings.max_p99_ms is not None:
            nap = max(nap, self._nap.look(is_strained))
        return min(nap, LONGEST_SECONDS)

    def _row_bytes(self, rows: int, size: int) -> float:
        """Return how large a row is; what Postgres tells of tables counts indexes as well."""
        if rows >= MANY_ROWS and size > 0:
            return size / rows
        expected = self._job.progress
        return float(expected.get("bytes_total", 0) / max(1, expected.get("rows_total", 1)))

    def _tell(self, seconds: float, nap: float) -> None:
        """Write it down unless the copy knows."""
        job, now = self._job, self._job.clock()
        left = self._rests_until - now
        is_over_soon = seconds > 0 and left < min(seconds, RENEW_SECONDS)
        is_too_long = left > seconds + RENEW_SECONDS
        is_forgotten = nap > 0 and now > self._holds_until
        is_other = abs(nap - self._told) > self._told / 4
        if is_over_soon or is_too_long or is_forgotten or is_other:
            with job.write(job.move.target) as connection:
                rest(connection, job.move.number, seconds, nap)
            self._rests_until = now + seconds
            self._holds_until = self._rests_until + HOLDS_SECONDS / 4
            self._told = nap
