"""Install the guards of a shard's sharded tables, and check that they stand.

A guard is replaced under SHARE ROW EXCLUSIVE: every writer that has already touched the table
ends first, every later one runs the new function, whatever snapshot its transaction has.
"""

import time
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, text

from shardrouter.errors import SettingsError, StaleEpoch
from shardrouter.postgres.guard_sql import SCHEMA_SQL, Guard, table_sql
from shardrouter.postgres.locks import PATIENCE, Patience, Sleep, run_with_locks
from shardrouter.postgres.verbatim import run_verbatim
from shardrouter.topology import ShardId, Table, TableKind, Topology

_INSTALLER_LOCK: Final = 7310010391427281  # advisory, one installer in a database at a time


def sharded_tables(topology: Topology) -> tuple[Table, ...]:
    """Return the registered tables that need a guard, in the order they are locked."""
    tables = (table for table in topology.tables if table.kind is TableKind.SHARDED)
    return tuple(sorted(tables, key=lambda table: table.full_name))


def install_guards(
    connection: Connection,
    topology: Topology,
    shard_id: ShardId,
    tables: Sequence[Table] | None = None,
    *,
    sleep: Sleep = time.sleep,
    patience: Patience = PATIENCE,
) -> None:
    """Make or replace the guards of sharded tables on a shard's primary, all or none.

    tables: those of the topology when None. They exist. The connection has no open transaction.
    Readers go on; writers wait for at most one lock attempt (``Patience``).

    Raises StaleEpoch when a guard of a later epoch stands there, LockTimeout, SettingsError when
    the database belongs to another shard.
    """
    wanted = sharded_tables(topology) if tables is None else tables
    guards = [Guard.of(table, topology, shard_id) for table in wanted]

    def work() -> None:
        write_guards(connection, guards)

    run_with_locks(connection, work, wanted, sleep=sleep, patience=patience)


def write_guards(connection: Connection, guards: Sequence[Guard]) -> None:
    """Make or replace guards within the caller's transaction, which ``run_with_locks`` gives.

    Raises StaleEpoch, SettingsError.
    """
    if not guards:
        return
    lock_installers(connection)
    _ensure_schema(connection)
    ordered = sorted(guards, key=lambda guard: guard.table.full_name)
    names = ", ".join(table_sql(guard.table) for guard in ordered)
    run_verbatim(connection, f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE")
    for guard in ordered:
        record_guard(connection, guard)
        for statement in guard.install_sql():
            run_verbatim(connection, statement)


def lock_installers(connection: Connection) -> None:
    """Let nobody else install on this database until the transaction ends."""
    connection.execute(_LOCK_INSTALLERS, {"key": _INSTALLER_LOCK})


def has_foreign_rows(connection: Connection, guard: Guard) -> bool:
    """True when the table holds a row this shard does not own. Reads the table until it finds one.

    Asked once, for a table that had rows before it had a guard.
    """
    query = f"SELECT EXISTS (SELECT FROM {table_sql(guard.table)} WHERE (%s) IS NOT TRUE)"
    return bool(run_verbatim(connection, query % guard.is_home_sql()).scalar_one())


def _ensure_schema(connection: Connection) -> None:
    # A role without CREATE on the database can install guards where the schema stands already.
    if connection.execute(_HAS_RECORDS).scalar_one() is None:
        for statement in SCHEMA_SQL:
            run_verbatim(connection, statement)


def record_guard(connection: Connection, guard: Guard) -> None:
    written = connection.execute(
        _RECORD,
        {
            "schema": guard.table.schema,
            "table": guard.table.name,
            "function": guard.function_name,
            "shard": guard.shard,
            "epoch": guard.epoch,
            "slots": guard.slots,
            "columns": [column.name for column in guard.table.key],
        },
    ).first()
    if written is not None:
        return
    names = {"schema": guard.table.schema, "table": guard.table.name}
    standing = connection.execute(_STANDING, names).one()
    if standing.shard != guard.shard:
        raise SettingsError(
            f"this database belongs to shard {standing.shard}",
            shard=guard.shard,
            epoch=guard.epoch,
            hint=f"compare the DSNs of {standing.shard} and {guard.shard}:"
            " `shardrouter shard list`",
        )
    raise StaleEpoch(
        f"the guard of {guard.table.full_name} is of the later epoch {standing.epoch}",
        shard=guard.shard,
        epoch=guard.epoch,
        hint="load the topology again and repeat; if the catalog was made anew since, delete the"
        " rows of shardrouter.guard in this database first",
    )


_LOCK_INSTALLERS: Final = text("SELECT pg_catalog.pg_advisory_xact_lock(:key)")
_HAS_RECORDS: Final = text("SELECT pg_catalog.to_regclass('shardrouter.guard')")
_STANDING: Final = text(
    "SELECT shard, epoch FROM shardrouter.guard"
    " WHERE table_schema = :schema AND table_name = :table"
)
_RECORD: Final = text(
    """
INSERT INTO shardrouter.guard AS standing
       (table_schema, table_name, function_name, shard, epoch, slots, key_columns)
VALUES (:schema, :table, :function, :shard, :epoch, :slots, :columns)
ON CONFLICT (table_schema, table_name) DO UPDATE
   SET function_name = excluded.function_name, epoch = excluded.epoch, slots = excluded.slots,
       key_columns = excluded.key_columns, installed_at = pg_catalog.now()
 WHERE standing.shard = excluded.shard AND standing.epoch <= excluded.epoch
RETURNING epoch
"""
)
