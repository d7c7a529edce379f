"""How far the standbys of a primary are, and waiting for them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, text

from shardrouter.postgres.locks import Sleep
from shardrouter.postgres.single_statements import autocommit

_POLL_SECONDS: Final = 0.002  # writers may be waiting


@dataclass(frozen=True, slots=True)
class StandbyPosition:
    """One connected standby; LSNs count bytes."""

    name: str
    """Its application_name."""

    flush_lsn: int
    replay_lsn: int
    flush_lag_bytes: int
    replay_lag_bytes: int


def standby_positions(connection: Connection) -> list[StandbyPosition]:
    """Return the standbys that stream from this primary; not subscriptions, not base backups.

    A role without pg_read_all_stats sees none of other roles: then the list is empty.
    """
    return [
        StandbyPosition(
            row.application_name,
            int(row.flush),
            int(row.replay),
            int(row.flush_lag),
            int(row.replay_lag),
        )
        for row in connection.execute(_POSITIONS)
    ]


def wait_for_standbys(
    connection: Connection,
    lsn: int,
    deadline: float,
    sleep: Sleep,
    *,
    replayed: bool = False,
    now: Callable[[], float] = time.monotonic,
) -> tuple[str, ...]:
    """Wait until every connected standby has flushed (or replayed) ``lsn``.

    Returns the names of those that have not when ``deadline`` (monotonic clock) is over; a
    standby that goes away meanwhile is not waited for. Runs transactions of its own.
    """
    while True:
        with autocommit(connection):
            standing = standby_positions(connection)
        behind = tuple(
            standby.name
            for standby in standing
            if (standby.replay_lsn if replayed else standby.flush_lsn) < lsn
        )
        if not behind or now() >= deadline:
            return behind
        sleep(_POLL_SECONDS)


# A walsender of a logical slot feeds a subscription. pg_receivewal replays nothing.
_POSITIONS: Final = text(
    """
SELECT application_name, coalesce(flush_lsn, '0/0') - '0/0' AS flush,
       coalesce(replay_lsn, flush_lsn, '0/0') - '0/0' AS replay,
       coalesce(pg_catalog.pg_current_wal_lsn() - flush_lsn, 0) AS flush_lag,
       coalesce(pg_catalog.pg_current_wal_lsn() - coalesce(replay_lsn, flush_lsn), 0) AS replay_lag
  FROM pg_catalog.pg_stat_replication r
 WHERE state IN ('streaming', 'catchup')
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_replication_slots s
                    WHERE s.active_pid = r.pid AND s.slot_type = 'logical')
 ORDER BY application_name
"""
)
