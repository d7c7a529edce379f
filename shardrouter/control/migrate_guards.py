"""After a migration of one shard: guards for the registered tables, and what else to know."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, text

from shardrouter.errors import UnsupportedSchema
from shardrouter.postgres import (
    PATIENCE,
    Guard,
    Sleep,
    check_guards,
    ensure_identity,
    key_columns,
    lock_installers,
    read_table,
    run_with_locks,
    sharded_tables,
    write_guards,
)
from shardrouter.topology import ShardId, Table, Topology


@dataclass(frozen=True, slots=True)
class GuardSummary:
    """How the guards of a shard stand."""

    standing: int
    wanted: int
    problems: tuple[str, ...] = ()
    """What must be mended before the shard is used."""

    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.standing}/{self.wanted}"


def install_all_guards(
    connection: Connection, topology: Topology, shard_id: ShardId, *, sleep: Sleep
) -> GuardSummary:
    """Guard every registered sharded table that exists, and look at the result.

    The connection has no transaction open. Raises StaleEpoch, LockTimeout, SettingsError.
    """
    tables = _existing(connection, sharded_tables(topology))
    notes: list[str] = []

    def work() -> None:
        notes.clear()  # a busy lock makes it run again
        lock_installers(connection)
        for table in tables:
            try:
                ensure_identity(connection, table)
            except UnsupportedSchema as error:
                notes.append(f"{error.message}: {error.hint}")
        write_guards(connection, [Guard.of(table, topology, shard_id) for table in tables])

    run_with_locks(connection, work, tables, sleep=sleep, patience=PATIENCE)
    return look_at_guards(connection, topology, shard_id, notes)


def look_at_guards(
    connection: Connection, topology: Topology, shard_id: ShardId, notes: Sequence[str] = ()
) -> GuardSummary:
    """Say how the guards stand; change nothing."""
    wanted = sharded_tables(topology)
    with connection.begin():
        reports = check_guards(connection, topology, shard_id)
        problems = [
            f"{r.table}: guard {r.state} {r.detail}".strip() for r in reports if not r.is_ok
        ]
        problems += [p for table in wanted for p in _key_problems(connection, table)]
        strangers = _unregistered(connection, topology)
    if strangers:
        notes = (*notes, f"not registered, so not guarded: {', '.join(strangers)}")
    standing = sum(report.is_ok for report in reports)
    return GuardSummary(standing, len(wanted), tuple(problems), tuple(notes))


def _existing(connection: Connection, tables: Sequence[Table]) -> tuple[Table, ...]:
    with connection.begin():
        return tuple(t for t in tables if read_table(connection, t.schema, t.name) is not None)


def _key_problems(connection: Connection, table: Table) -> list[str]:
    """A migration may have changed the very column that the registry hashes."""
    facts = read_table(connection, table.schema, table.name)
    if facts is None:
        return []  # told by the guard's check
    try:
        found = key_columns(facts, [column.name for column in table.key])
    except UnsupportedSchema as error:
        return [error.message]
    if found == table.key:
        return []
    there = ", ".join(f"{column.name} {column.type}" for column in found)
    registered = ", ".join(f"{column.name} {column.type}" for column in table.key)
    return [f"the shard key of {table.full_name} is {there}, registered as {registered}"]


def _unregistered(connection: Connection, topology: Topology) -> list[str]:
    rows = connection.execute(_TABLES).all()
    return [f"{row.nspname}.{row.relname}" for row in rows if not _is_known(row, topology)]


def _is_known(row: object, topology: Topology) -> bool:
    return topology.table(f"{row.nspname}.{row.relname}") is not None  # type: ignore[attr-defined]


_TABLES: Final = text(
    """
SELECT n.nspname, c.relname
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
   AND n.nspname <> 'information_schema' AND n.nspname <> 'shardrouter'
   AND n.nspname NOT LIKE 'pg\\_%' AND c.relname <> 'alembic_version'
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                      AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY 1, 2
"""
)
