"""Ask a server once what decides whether it can be a node: version, role, encoding, hashing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Connection

from shardrouter.postgres.verbatim import run_verbatim
from shardrouter.topology import KeyColumn, KeyType, NodeId, ShardId, Slot, slot_of, slot_sql

HASH_SLOTS: Final = 16384
"""The most slots there can be: they compare the most bits."""

_SAMPLES: Final[Mapping[KeyType, tuple[str, object]]] = {
    KeyType.INT2: ("(-7)::int2", -7),
    KeyType.INT4: ("2147483647::int4", 2147483647),
    KeyType.INT8: ("9007199254740993::int8", 9007199254740993),
    KeyType.TEXT: (r"U&'na\00EFve \65E5\672C \+01F680'", "na\u00efve \u65e5\u672c \U0001f680"),
    KeyType.UUID: (
        "'6f1ce1fe-6f58-4a55-a3dd-9b3bb4e9dd2b'::uuid",
        UUID("6f1ce1fe-6f58-4a55-a3dd-9b3bb4e9dd2b"),
    ),
    KeyType.DATE: ("date '1987-06-05'", date(1987, 6, 5)),
    KeyType.TIMESTAMPTZ: (
        "timestamptz '2013-01-01 05:15:00.000123+00'",
        datetime(2013, 1, 1, 5, 15, 0, 123, UTC),
    ),
}


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a server said of itself."""

    node: NodeId
    shard: ShardId
    version: int
    """``server_version_num``, for example 180006."""

    in_recovery: bool
    is_streaming: bool
    """It receives WAL now; only of replicas."""

    system_id: str
    """The same on a primary and its replicas, and on no other server."""

    database: str
    encoding: str
    wal_level: str
    max_prepared_transactions: int
    wrong_slots: tuple[KeyType, ...] = ()
    """Key types whose sample the server hashes to another slot than we do."""


def inspect_node(connection: Connection, shard: ShardId, node: NodeId) -> NodeFacts:
    """Ask the questions over an open connection."""
    row = run_verbatim(connection, _FACTS).one()
    types: tuple[KeyType, ...] = ()
    if row.encoding == "UTF8":  # in any other the text sample cannot even be written down
        types = _wrong_slots(connection)
    return NodeFacts(node=node, shard=shard, wrong_slots=types, **row._mapping)


def _wrong_slots(connection: Connection) -> tuple[KeyType, ...]:
    expressions = [slot_sql([KeyColumn(kind.value, kind)], HASH_SLOTS) for kind in _SAMPLES]
    values = ", ".join(f'{literal} AS "{kind.value}"' for kind, (literal, _) in _SAMPLES.items())
    query = f"SELECT {', '.join(expressions)} FROM (SELECT {values}) AS samples"
    answers = run_verbatim(connection, query).one()
    return tuple(
        kind
        for (kind, (_, value)), answer in zip(_SAMPLES.items(), answers, strict=True)
        if slot_of([kind], [value], HASH_SLOTS) != Slot(int(answer))
    )


_FACTS: Final = """
SELECT pg_catalog.current_setting('server_version_num')::int AS version,
       pg_catalog.pg_is_in_recovery() AS in_recovery,
       EXISTS (SELECT FROM pg_catalog.pg_stat_wal_receiver) AS is_streaming,
       (SELECT system_identifier::text FROM pg_catalog.pg_control_system()) AS system_id,
       pg_catalog.current_database()::text AS database,
       pg_catalog.current_setting('server_encoding') AS encoding,
       pg_catalog.current_setting('wal_level') AS wal_level,
       pg_catalog.current_setting('max_prepared_transactions')::int AS max_prepared_transactions
"""
