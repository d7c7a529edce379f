"""Say whether the guards of a shard stand as the topology wants them. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, text

from shardrouter.postgres.guard import sharded_tables
from shardrouter.postgres.guard_sql import FUNCTION_CONFIG, SCHEMA, TRIGGER_NAME, Guard
from shardrouter.topology import Epoch, ShardId, Table, Topology


class GuardState(StrEnum):
    OK = "ok"
    NO_TABLE = "no table"
    MISSING = "missing"
    DISABLED = "disabled"
    STALE = "stale"
    """It lets in other slots, or hashes another key, than the topology says, or was edited."""

    OVERTAKEN = "overtaken"
    """Another trigger runs after it and may change the key it has seen."""


@dataclass(frozen=True, slots=True)
class GuardReport:
    """What was found of one table's guard."""

    table: str
    state: GuardState
    epoch: int | None = None
    """The epoch it was installed at; an older one is fine while the slots are the same."""

    detail: str = ""

    @property
    def is_ok(self) -> bool:
        return self.state is GuardState.OK


def check_guards(
    connection: Connection,
    topology: Topology,
    shard_id: ShardId,
    tables: Sequence[Table] | None = None,
) -> tuple[GuardReport, ...]:
    """Compare the guards of sharded tables on a shard with the topology.

    tables: those of the topology when None.
    """
    wanted = sharded_tables(topology) if tables is None else tables
    epochs = _recorded_epochs(connection)
    return tuple(
        _check(
            connection, Guard.of(table, topology, shard_id), epochs.get((table.schema, table.name))
        )
        for table in wanted
    )


def _check(connection: Connection, guard: Guard, epoch: int | None) -> GuardReport:
    def found(state: GuardState, detail: str = "") -> GuardReport:
        return GuardReport(guard.table.full_name, state, epoch, detail)

    names = {"schema": guard.table.schema, "table": guard.table.name, "trigger": TRIGGER_NAME}
    relations = connection.execute(_RELATIONS, names).all()
    if not relations:
        return found(GuardState.NO_TABLE, "the table does not exist")
    for row in relations:
        where = f"on {row.relation}"
        if row.tgenabled is None:
            return found(GuardState.MISSING, where)
        if row.tgenabled != "O":
            return found(GuardState.DISABLED, f"{where}: {_ENABLED[row.tgenabled]}")
        if not _is_as_written(row, guard, epoch):
            return found(GuardState.STALE, f"{where}, of epoch {epoch or 'unknown'}")
        if row.later is not None:
            return found(GuardState.OVERTAKEN, f"{where} by trigger {row.later}")
    return found(GuardState.OK)


def _is_as_written(row: Any, guard: Guard, epoch: int | None) -> bool:
    if epoch is None:
        return False
    # The epoch is part of the text; the topology may have moved on without moving these slots.
    expected = replace(guard, epoch=Epoch(epoch))
    return (
        (row.nspname, row.proname) == (SCHEMA, expected.function_name)
        and row.prosrc == expected.body()
        and row.provolatile == "v"
        and row.proconfig == [FUNCTION_CONFIG]
        and row.tgtype == _ROW_BEFORE_ALL_WRITES
        and row.is_unconditional
    )


def _recorded_epochs(connection: Connection) -> dict[tuple[str, str], int]:
    if connection.execute(_HAS_RECORDS).scalar_one() is None:
        return {}
    return {(row.table_schema, row.table_name): row.epoch for row in connection.execute(_EPOCHS)}


_ROW_BEFORE_ALL_WRITES: Final = 1 | 2 | 4 | 8 | 16  # TRIGGER_TYPE_ROW BEFORE INSERT DELETE UPDATE
_ENABLED: Final = {
    "D": "disabled",
    "R": "fires only in replication",
    "A": "fires in replication too, where moved rows must pass",
}
_HAS_RECORDS: Final = text("SELECT pg_catalog.to_regclass('shardrouter.guard')")
_EPOCHS: Final = text("SELECT table_schema, table_name, epoch FROM shardrouter.guard")
_RELATIONS: Final = text(
    """
WITH RECURSIVE relation AS (
    SELECT c.oid
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = :schema AND c.relname = :table AND c.relkind IN ('r', 'p')
    UNION ALL
    SELECT i.inhrelid FROM relation JOIN pg_catalog.pg_inherits i ON i.inhparent = relation.oid
)
SELECT relation.oid::regclass::text AS relation,
       t.tgenabled::text AS tgenabled, t.tgtype,
       t.tgqual IS NULL AND t.tgattr::text = '' AS is_unconditional,
       p.proname, n.nspname, p.prosrc, p.provolatile::text AS provolatile, p.proconfig,
       (SELECT min(other.tgname::text)
          FROM pg_catalog.pg_trigger other
         WHERE other.tgrelid = relation.oid AND other.tgname > :trigger
           AND other.tgtype & 3 = 3 AND other.tgenabled <> 'D') AS later
  FROM relation
  LEFT JOIN pg_catalog.pg_trigger t ON t.tgrelid = relation.oid AND t.tgname = :trigger
  LEFT JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
  LEFT JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
 ORDER BY relation.oid
"""
)
