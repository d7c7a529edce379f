"""Install the guards of a shard's sharded tables, and check that they stand.

A guard is replaced under SHARE ROW EXCLUSIVE: every writer that has already touched the table
ends first, every later one runs the new function, whatever snapshot its transaction has.
"""

import json
import time
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, text

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
    if not lock_installers(connection):
        # A role without CREATE on the database can install where the schema stands already.
        run_verbatim(connection, ";\n".join(SCHEMA_SQL))
    ordered = sorted(guards, key=lambda guard: guard.table.full_name)
    names = ", ".join(table_sql(guard.table) for guard in ordered)
    run_verbatim(connection, f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE")
    record_guards(connection, ordered)
    run_verbatim(connection, ";\n".join(sql for guard in ordered for sql in guard.install_sql()))


def lock_installers(connection: Connection) -> bool:
    """Let nobody else install on this database until the transaction ends.

    True when guards were installed here before: their register stands.
    """
    return bool(connection.execute(_LOCK_INSTALLERS, {"key": _INSTALLER_LOCK}).one().is_known)


def has_foreign_rows(connection: Connection, guard: Guard) -> bool:
    """True when the table holds a row this shard does not own. Reads the table until it finds one.

    Asked once, for a table that had rows before it had a guard.
    """
    query = f"SELECT EXISTS (SELECT FROM {table_sql(guard.table)} WHERE (%s) IS NOT TRUE)"
    return bool(run_verbatim(connection, query % guard.is_home_sql()).scalar_one())


def record_guards(connection: Connection, guards: Sequence[Guard]) -> None:
    """Write guards into the register. Raises StaleEpoch, SettingsError: then roll back."""
    rows = connection.execute(_RECORD, {"guards": json.dumps([_record(g) for g in guards])})
    written = {(row.table_schema, row.table_name) for row in rows}
    for guard in guards:
        names = {"schema": guard.table.schema, "table": guard.table.name}
        if (*names.values(),) not in written:
            raise _refused(guard, connection.execute(_STANDING, names).one())


def _record(guard: Guard) -> dict[str, object]:
    return {
        "table_schema": guard.table.schema,
        "table_name": guard.table.name,
        "function_name": guard.function_name,
        "shard": guard.shard,
        "epoch": guard.epoch,
        "slots": guard.slots,
        "key_columns": [column.name for column in guard.table.key],
    }


def _refused(guard: Guard, standing: Row[Any]) -> SettingsError | StaleEpoch:
    if standing.shard != guard.shard:
        return SettingsError(
            f"this database belongs to shard {standing.shard}",
            shard=guard.shard,
            epoch=guard.epoch,
            hint=f"compare the DSNs of {standing.shard} and {guard.shard}:"
            " `shardrouter shard list`",
        )
    return StaleEpoch(
        f"the guard of {guard.table.full_name} is of the later epoch {standing.epoch}",
        shard=guard.shard,
        epoch=guard.epoch,
        hint="load the topology again and repeat; if the catalog was made anew since, delete the"
        " rows of shardrouter.guard in this database first",
    )


_LOCK_INSTALLERS: Final = text(
    "SELECT pg_catalog.pg_advisory_xact_lock(:key),"
    " pg_catalog.to_regclass('shardrouter.guard') IS NOT NULL AS is_known"
)
_STANDING: Final = text(
    "SELECT shard, epoch FROM shardrouter.guard"
    " WHERE table_schema = :schema AND table_name = :table"
)
_RECORD: Final = text(
    """
INSERT INTO shardrouter.guard AS standing
       (table_schema, table_name, function_name, shard, epoch, slots, key_columns)
SELECT table_schema, table_name, function_name, shard, epoch, slots,
       ARRAY(SELECT pg_catalog.jsonb_array_elements_text(key_columns))
  FROM pg_catalog.jsonb_to_recordset(CAST(:guards AS jsonb))
    AS g (table_schema text, table_name text, function_name text, shard text, epoch bigint,
          slots integer, key_columns jsonb)
ON CONFLICT (table_schema, table_name) DO UPDATE
   SET function_name = excluded.function_name, epoch = excluded.epoch, slots = excluded.slots,
       key_columns = excluded.key_columns, installed_at = pg_catalog.now()
 WHERE standing.shard = excluded.shard AND standing.epoch <= excluded.epoch
RETURNING table_schema, table_name
"""
)
