"""Ask one node who it is and how far it is."""

from dataclasses import dataclass
from typing import Any, Final, Self

import psycopg

from shardrouter.postgres.backend import read_position
from shardrouter.topology import Position, parse_lsn

PROBE_SQL: Final = """
SELECT pg_catalog.pg_is_in_recovery(),
       CASE WHEN pg_catalog.pg_is_in_recovery()
            THEN pg_catalog.pg_last_wal_replay_lsn()
            ELSE pg_catalog.pg_current_wal_insert_lsn() END,
       CASE WHEN NOT pg_catalog.pg_is_in_recovery()
            THEN pg_catalog.left(
                 pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8)
            END,
       (SELECT system_identifier::text FROM pg_catalog.pg_control_system()),
       (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()),
       (SELECT received_tli FROM pg_catalog.pg_stat_wal_receiver)
"""
"""One row about a node. A replica's timeline is the later of its last restart point's and the one
it receives: both are on the single history that it replays (received_tli is NULL for a role
without pg_read_all_stats, which only makes the router more careful after a failover)."""

REPLAY_SQL: Final = """
SELECT pg_catalog.pg_last_wal_replay_lsn(),
       (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()),
       (SELECT received_tli FROM pg_catalog.pg_stat_wal_receiver)
"""
"""Just the replay position, for a session that waits for it."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What a node said of itself."""

    in_recovery: bool
    position: Position
    system_id: str

    @classmethod
    def from_row(cls, row: tuple[Any, ...]) -> Self:
        """Read a row of PROBE_SQL."""
        in_recovery, lsn, timeline, system_id, restart_timeline, received_timeline = row
        if in_recovery:
            position = replay_position(lsn, restart_timeline, received_timeline)
        else:
            position = read_position(lsn, timeline)
        return cls(in_recovery, position, system_id)


def replay_position(
    lsn: str | None, restart_timeline: int, received_timeline: int | None
) -> Position:
    """Return the position that a row of REPLAY_SQL tells; no LSN yet counts as the beginning."""
    return Position(
        max(restart_timeline, received_timeline or 0), 0 if lsn is None else parse_lsn(lsn)
    )


async def probe(connection: psycopg.AsyncConnection[Any]) -> Probe:
    """Ask over an open autocommit connection. Raises psycopg.Error."""
    cursor = await connection.execute(PROBE_SQL)
    row = await cursor.fetchone()
    assert row is not None  # the statement has no FROM, it returns one row
    return Probe.from_row(row)
