"""Keep a safe copy within its limits: tell the sessions that copy until when to rest.

They are Postgres' own and know nothing of us; see ``postgres.moving.pace`` for how they ask.
"""

from typing import Final

from shardrouter.postgres.moving import rest
from shardrouter.rebalance.copying.throttle import ByteBucket, Strain
from shardrouter.rebalance.job import Job

STRAINED_SECONDS: Final = 0.3  # a rest, renewed for as long as a shard is strained
LONGEST_SECONDS: Final = 2.0  # should nobody be there to end it
RENEW_SECONDS: Final = 0.1  # before it is over


class Rests:
    """What a first copy was told last, and what it is to be told."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._bucket = ByteBucket(lambda: job.settings.max_bytes_per_second, job.clock)
        self._strain = Strain(job.clock)
        self._copied = 0
        self._rests_until = float("-inf")

    def keep(self, copied: int) -> str | None:
        """Look at the limits; return what the copy rests for, or None.

        copied: bytes that have arrived so far.
        """
        job, move = self._job, self._job.move
        shards = [job.on(shard) for shard in (move.source, move.target)]
        strained = self._strain.look(shards, job.settings)
        owed = self._bucket.take(max(0, copied - self._copied))
        self._copied = max(copied, self._copied)
        seconds = min(max(owed, STRAINED_SECONDS if strained else 0.0), LONGEST_SECONDS)
        self._tell(seconds)
        if strained is None and owed > 0:
            return f"{job.settings.max_bytes_per_second} bytes a second"
        return strained

    def _tell(self, seconds: float) -> None:
        """Write it down unless the copy knows."""
        job, now = self._job, self._job.clock()
        left = self._rests_until - now
        is_over_soon = seconds > 0 and left < min(seconds, RENEW_SECONDS)
        is_too_long = left > seconds + RENEW_SECONDS
        if is_over_soon or is_too_long:
            with job.write(job.move.target) as connection:
                rest(connection, job.move.number, seconds)
            self._rests_until = now + seconds
