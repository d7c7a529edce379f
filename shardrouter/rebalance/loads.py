"""Ask every shard what its slots hold, how full it is, and how fast it writes.

Loads of slots: those that routers have counted, and those of a file.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from shardrouter.control import missing_tables
from shardrouter.errors import MoveRefused
from shardrouter.postgres import sharded_tables
from shardrouter.postgres.moving import SlotLoad, slot_loads
from shardrouter.rebalance.planning.price import Room, SlotLoads
from shardrouter.rebalance.sessions import Sessions, patient
from shardrouter.topology import Shard, ShardId, Slot, TableKind, Topology, parse_lsn

SAMPLE_SECONDS: Final = 1.0
"""So long the WAL that a shard writes is measured, while its slots are read."""

_AT_A_TIME: Final = 8
_NAME: Final = "shardrouter-plan"


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found on the shards."""

    loads: SlotLoads
    rooms: Mapping[ShardId, Room]
    wal_bytes_per_second: Mapping[ShardId, float]
    missing: Mapping[ShardId, tuple[str, ...]]
    """Registered tables that a shard does not have; only of shards that lack some."""

    def require_tables(self, shard: ShardId) -> None:
        """Raise MoveRefused when the shard cannot take slots, because tables are missing."""
        missing = self.missing.get(shard)
        if missing:
            raise MoveRefused(
                f"it lacks the registered tables {', '.join(missing)}",
                shard=shard,
                hint=f"make them with `shardrouter shard prepare {shard}`",
            )


@dataclass(frozen=True, slots=True)
class _Found:
    """What was found on one shard."""

    loads: Mapping[Slot, SlotLoad]
    database_bytes: int
    wal_bytes_per_second: float
    missing: tuple[str, ...]


def survey(
    topology: Topology,
    connect_timeout_seconds: float,
    disk_bytes: int | None = None,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Survey:
    """Look at the primaries of all shards, side by side. Reads tables, large ones by a sample.

    disk_bytes: the size of a shard's disk, if it is known. Raises BackendUnreachable, NoPrimary.
    """

    def look(shard: Shard) -> _Found:
        sessions = Sessions(_NAME, connect_timeout_seconds)
        try:
            session = sessions.open(shard)
            sessions.keep(session)
            with patient(session.connection), session.connection.begin():
                return _look(session.connection, topology, clock, sleep)
        finally:
            sessions.close_all()

    with ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="plan") as pool:
        found = dict(
            zip(
                (shard.id for shard in topology.shards),
                pool.map(look, topology.shards),
                strict=True,
            )
        )
    return Survey(
        _loads_of_owners(topology, found),
        {shard: Room(facts.database_bytes, disk_bytes) for shard, facts in found.items()},
        {shard: facts.wal_bytes_per_second for shard, facts in found.items()},
        {shard: facts.missing for shard, facts in found.items() if facts.missing},
    )


def read_loads(path: Path, slots: int) -> tuple[float, ...]:
    """Return the load of each slot from a JSON file: ``{"17": 250.5, ...}``; others have none.

    Raises MoveRefused for a file that holds something else.
    """
    try:
        given = json.loads(path.read_text())
        loads = [0.0] * slots
        for slot, load in given.items():
            number, value = int(slot), float(load)
            if not 0 <= number < slots or not 0 <= value < float("inf"):
                raise ValueError(f"slot {slot} with load {load}")
            loads[number] = value
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise MoveRefused(
            f"{path} holds no loads of slots: {error}",
            hint='write one JSON object, slot number to load: {"17": 250.5}; `shardrouter slot'
            " KEY --type TYPE` tells the slot of a key",
        ) from error
    return tuple(loads)


def counted_loads(queries: Mapping[Slot, float], topology: Topology) -> tuple[float, ...]:
    """Return the load of each slot as routers have counted it. Raises MoveRefused: none has."""
    if not any(queries.values()):
        raise MoveRefused(
            "no router has reported queries of slots in the last hour",
            epoch=topology.epoch,
            hint="let routers run for a minute, with sessions that name their key, or give"
            " --loads FILE",
        )
    return tuple(queries.get(Slot(slot), 0.0) for slot in range(topology.slots))


def _look(
    connection: Connection,
    topology: Topology,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> _Found:
    began, first = clock(), _wal(connection)
    tables = [table for table in topology.tables if table.kind is not TableKind.LOCAL]
    missing = missing_tables(connection, tables)
    present = [table for table in sharded_tables(topology) if table not in missing]
    loads = slot_loads(connection, present, topology.slots)
    size = int(connection.exec_driver_sql(_DATABASE_BYTES).scalar_one())
    sleep(max(0.0, SAMPLE_SECONDS - (clock() - began)))
    written = _wal(connection) - first
    return _Found(
        loads, size, written / max(clock() - began, 1e-6), tuple(t.full_name for t in missing)
    )


def _wal(connection: Connection) -> int:
    return parse_lsn(connection.exec_driver_sql(_WAL).scalar_one())


def _loads_of_owners(topology: Topology, found: Mapping[ShardId, _Found]) -> SlotLoads:
    """Take each slot from its owner: other shards may hold copies of a move."""
    nothing = SlotLoad(0, 0)
    own: Sequence[SlotLoad] = [
        found[owner].loads.get(Slot(slot), nothing) for slot, owner in enumerate(topology.owners)
    ]
    return SlotLoads(tuple(load.rows for load in own), tuple(load.bytes for load in own))


_WAL: Final = "SELECT pg_catalog.pg_current_wal_insert_lsn()::text"
_DATABASE_BYTES: Final = "SELECT pg_catalog.pg_database_size(pg_catalog.current_database())"
