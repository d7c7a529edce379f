"""Give a move up before it fills a disk: its replication slot keeps WAL, its rows take space."""

from typing import Final

from sqlalchemy import Connection

from shardrouter.rebalance.copying.catch_up import lag_bytes
from shardrouter.rebalance.job import Job
from shardrouter.rebalance.troubles import LimitReached
from shardrouter.topology import Direction, MoveState

MB: Final = 1024 * 1024

STREAMING: Final = "is_streaming"
"""The fact that names the attempt whose replication slot was made by a fast copy."""

_WATCHED: Final = frozenset(
    {MoveState.COPYING, MoveState.CATCHING_UP, MoveState.VERIFYING, MoveState.READY}
)


def watch(job: Job) -> None:
    """Raise LimitReached when the source keeps too much WAL or the target gets too full."""
    if job.move.state not in _WATCHED or job.move.direction is Direction.BACK:
        return
    if (
        job.move.state is not MoveState.COPYING
        or job.move.copy_mode == "safe"
        or (job.facts.get(STREAMING) == job.move.attempt)
    ):
        lag_bytes(job)
    retained = job.progress.get("retained_bytes", 0)
    most = job.settings.max_retained_wal_mb * MB
    if retained > most:
        raise LimitReached(
            f"the replication slot keeps {retained // MB} MB of WAL, {most // MB} MB are allowed",
            shard=job.move.source,
            hint="raise rebalance.max_retained_wal_mb, or move at a quieter time",
        )
    with job.read(job.move.target) as connection:
        require_space(job, connection)


def require_space(job: Job, connection: Connection, more_bytes: int = 0) -> None:
    """Raise LimitReached when the target would keep less free than the settings want."""
    disk, free = job.settings.disk_mb, job.settings.min_free_disk_mb
    if disk is None or free is None:
        return
    size = connection.exec_driver_sql(_SIZE).scalar_one()
    if size + more_bytes > (disk - free) * MB:
        raise LimitReached(
            f"its databases take {(size + more_bytes) // MB} MB of {disk} MB:"
            f" less than {free} MB would be free",
            shard=job.move.target,
            hint="move fewer slots, or give the shard a larger disk and tell rebalance.disk_mb",
        )


_SIZE: Final = (
    "SELECT coalesce(sum(pg_catalog.pg_database_size(oid)), 0)::bigint"
    " FROM pg_catalog.pg_database"
    " WHERE datallowconn AND pg_catalog.has_database_privilege(oid, 'CONNECT')"
)
