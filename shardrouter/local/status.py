"""Ask every server of a local fleet how it is: running, its role, how far behind it is."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import psycopg

from shardrouter.local.fleet import LocalFleet
from shardrouter.local.server import LocalServer
from shardrouter.topology import NodeId, Role, parse_lsn

ANSWER_SECONDS: Final = 2  # libpq knows no shorter connect_timeout
_SAMPLE: Final = """
SELECT pg_is_in_recovery(),
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
            ELSE pg_current_wal_lsn() END,
       extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())
"""


class ServerCondition(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"
    SILENT = "not answering"


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One server at one moment. Lag is known of replicas whose primary answers."""

    server: LocalServer
    condition: ServerCondition
    role: Role
    """The role it has now; of a server that does not answer, the one it was made for."""

    pid: int | None
    lag_bytes: int | None = None
    lag_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class _Sample:
    condition: ServerCondition
    pid: int | None
    is_replica: bool = False
    lsn: int = 0
    replay_age_seconds: float = 0.0


def fleet_status(fleet: LocalFleet) -> list[ServerStatus]:
    """Return the status of every server, the catalog first. Takes seconds when one is frozen."""
    with ThreadPoolExecutor(len(fleet.servers)) as pool:
        samples = dict(
            zip((s.id for s in fleet.servers), pool.map(_sample, fleet.servers), strict=True)
        )
    return [_status(server, samples) for server in fleet.servers]


def _sample(server: LocalServer) -> _Sample:
    pid = server.pid
    if pid is None:
        return _Sample(ServerCondition.STOPPED, None)
    try:
        timeout = f"-c statement_timeout={ANSWER_SECONDS}s"
        with server.connect("postgres", connect_timeout=ANSWER_SECONDS, options=timeout) as asked:
            row = asked.execute(_SAMPLE).fetchone()
    except psycopg.Error:
        return _Sample(ServerCondition.SILENT, pid)
    assert row is not None
    return _Sample(
        ServerCondition.RUNNING, pid, row[0], parse_lsn(row[1] or "0/0"), float(row[2] or 0)
    )


def _status(server: LocalServer, samples: dict[NodeId, _Sample]) -> ServerStatus:
    mine = samples[server.id]
    if mine.condition is not ServerCondition.RUNNING:
        return ServerStatus(server, mine.condition, server.role, mine.pid)
    if not mine.is_replica or server.primary is None:
        return ServerStatus(server, mine.condition, Role.PRIMARY, mine.pid)
    primary = samples[server.primary.id]
    if primary.condition is not ServerCondition.RUNNING or primary.is_replica:
        return ServerStatus(server, mine.condition, Role.REPLICA, mine.pid)
    behind = max(0, primary.lsn - mine.lsn)  # the primary may have been asked first
    seconds = round(mine.replay_age_seconds, 3) if behind else 0.0
    return ServerStatus(server, mine.condition, Role.REPLICA, mine.pid, behind, seconds)
