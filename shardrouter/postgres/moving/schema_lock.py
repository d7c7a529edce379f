"""Keep the tables of a move as they are: no DDL, no TRUNCATE, no key change into another slot.

DDL would make the two sides differ, TRUNCATE is not replicated, and an UPDATE that carries a row
into the moving slots arrives without its unchanged long values. Each is refused on both shards,
with the number of the move and what to do.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, exc, text

from shardrouter.postgres.guard import lock_installers
from shardrouter.postgres.locks import PATIENCE, Patience, Sleep, run_with_locks
from shardrouter.postgres.moving.limits import limit_waits, sqlstate_of
from shardrouter.postgres.moving.pace import PACE_FUNCTION_SQL, install_pace
from shardrouter.postgres.moving.schema_lock_sql import (
    DDL_TRIGGER,
    DROP_TRIGGER,
    EVENT_TRIGGERS_SQL,
    TRUNCATE_FUNCTION_SQL,
    drop_key_function_sql,
    drop_triggers_sql,
    key_trigger_sql,
    truncate_trigger_sql,
)
from shardrouter.postgres.moving.token import check_token
from shardrouter.postgres.verbatim import run_verbatim
from shardrouter.topology import Slot, Table, TableKind

_NO_RIGHTS: Final = "42501"
_EVENT_LOCK_SECONDS: Final = 5.0


def lock_schema(
    connection: Connection,
    tables: Sequence[Table],
    slots: Sequence[Slot],
    slot_count: int,
    *,
    move: int,
    token: int,
    sleep: Sleep,
    patience: Patience = PATIENCE,
    is_paced: bool = False,
) -> bool:
    """Lock the tables for the move, in transactions of its own; repeatable.

    is_paced: their first copy shall rest when it is told to, see ``pace``.

    Waits for open writers of the tables, giving way to later ones (``Patience``). False when the
    role may not make event triggers (superusers may): then only fingerprints notice DDL.
    Raises LockTimeout, MoveTakenOver.
    """
    ordered = sorted(tables, key=lambda table: table.full_name)

    def work() -> None:
        check_token(connection, move, token)
        lock_installers(connection)
        run_verbatim(connection, TRUNCATE_FUNCTION_SQL)
        for table in ordered:
            _lock_table(connection, table, slots, slot_count, move)
        if is_paced:
            run_verbatim(connection, PACE_FUNCTION_SQL)
            for table in ordered:
                install_pace(connection, table, move)

    refuses_ddl = _refuse_ddl(connection, move, token)
    run_with_locks(connection, work, ordered, sleep=sleep, patience=patience)
    return refuses_ddl


def unlock_schema(
    connection: Connection,
    *,
    move: int,
    token: int,
    sleep: Sleep,
    patience: Patience = PATIENCE,
) -> None:
    """Undo ``lock_schema``, in a transaction of its own; what other moves locked stays locked.

    Waits like it. Raises LockTimeout, MoveTakenOver.
    """
    with connection.begin():
        locked = connection.execute(_TABLES, {"move": move}).all()
    tables = [Table(row.name, TableKind.SHARDED, schema=row.schema) for row in locked]

    def work() -> None:
        check_token(connection, move, token)
        lock_installers(connection)
        for relation in connection.execute(_RELATIONS, {"move": move}).all():
            for statement in drop_triggers_sql(relation.schema, relation.name, move):
                run_verbatim(connection, statement)
        for table in tables:
            run_verbatim(connection, drop_key_function_sql(table, move))
        connection.execute(_FORGET, {"move": move})
        for row in connection.execute(_IDLE_EVENT_TRIGGERS).all():
            run_verbatim(connection, f"DROP EVENT TRIGGER {row.evtname}")

    run_with_locks(connection, work, tables, sleep=sleep, patience=patience)


def _lock_table(
    connection: Connection, table: Table, slots: Sequence[Slot], slot_count: int, move: int
) -> None:
    of = {"move": move, "schema": table.schema, "table": table.name}
    connection.execute(_LOCK, of)
    for statement in key_trigger_sql(table, slots, slot_count, move):
        run_verbatim(connection, statement)
    for relation in connection.execute(_RELATIONS, {"move": move}).all():
        if (relation.table_schema, relation.table_name) == (table.schema, table.name):
            run_verbatim(connection, truncate_trigger_sql(relation.schema, relation.name, move))


def _refuse_ddl(connection: Connection, move: int, token: int) -> bool:
    try:
        with connection.begin():
            limit_waits(connection, lock_seconds=_EVENT_LOCK_SECONDS)
            check_token(connection, move, token)
            lock_installers(connection)
            standing = {row.evtname: row.evtenabled for row in connection.execute(_EVENT_TRIGGERS)}
            for name, statements in EVENT_TRIGGERS_SQL.items():
                if name not in standing:
                    for statement in statements:
                        run_verbatim(connection, statement)
        return "D" not in standing.values()  # somebody disabled it, knowingly
    except exc.DBAPIError as error:
        if sqlstate_of(error) != _NO_RIGHTS:
            raise
        return False


_OURS: Final = f"evtname IN ('{DDL_TRIGGER}', '{DROP_TRIGGER}')"
_EVENT_TRIGGERS: Final = text(
    f"SELECT evtname, evtenabled::text AS evtenabled FROM pg_catalog.pg_event_trigger WHERE {_OURS}"
)
_IDLE_EVENT_TRIGGERS: Final = text(
    f"SELECT evtname FROM pg_catalog.pg_event_trigger WHERE {_OURS}"
    " AND pg_catalog.pg_has_role(evtowner, 'USAGE')"
    " AND NOT EXISTS (SELECT FROM shardrouter.move_lock)"
)
_TABLES: Final = text(
    "SELECT table_schema AS schema, table_name AS name FROM shardrouter.move_lock"
    " WHERE move = :move ORDER BY 1, 2"
)
_FORGET: Final = text("DELETE FROM shardrouter.move_lock WHERE move = :move")
_RELATIONS: Final = text(
    """
SELECT l.table_schema, l.table_name, n.nspname AS schema, c.relname AS name
  FROM shardrouter.move_lock l
  JOIN pg_catalog.pg_class c ON c.oid = ANY (l.relations) AND c.relkind IN ('r', 'p')
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE l.move = :move
 ORDER BY c.oid
"""
)
_LOCK: Final = text(
    """
WITH RECURSIVE relation AS (
    SELECT c.oid
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = :schema AND c.relname = :table
    UNION ALL
    SELECT h.inhrelid FROM relation JOIN pg_catalog.pg_inherits h ON h.inhparent = relation.oid
), locked AS (
    SELECT oid FROM relation
    UNION
    SELECT i.indexrelid FROM relation JOIN pg_catalog.pg_index i ON i.indrelid = relation.oid
)
INSERT INTO shardrouter.move_lock (move, table_schema, table_name, relations)
SELECT :move, :schema, :table, array_agg(oid ORDER BY oid) FROM locked
ON CONFLICT (move, table_schema, table_name) DO UPDATE SET relations = excluded.relations
"""
)
