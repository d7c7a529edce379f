"""The text of the functions and triggers that keep tables as they are during a move. Pure."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from psycopg.sql import Identifier, Literal

from shardrouter.postgres.guard_sql import SCHEMA, in_slots_sql, table_sql
from shardrouter.postgres.moving.pace import pace_trigger_name
from shardrouter.topology import Slot, Table, slot_sql

DDL_TRIGGER: Final = "shardrouter_move_ddl"
DROP_TRIGGER: Final = "shardrouter_move_drop"


def key_trigger_name(move: int) -> str:
    """Return the trigger's name: it fires after the table's own, and before the guard."""
    return f"zzy_shardrouter_move_{move:d}_key"


def truncate_trigger_name(move: int) -> str:
    return f"zzy_shardrouter_move_{move:d}_truncate"


def key_function_name(table: Table, move: int) -> str:
    """Return the function's name in the schema ``shardrouter``."""
    exact = f"{table.schema}\0{table.name}"
    return f"move_{move:d}_key_{hashlib.sha256(exact.encode()).hexdigest()[:8]}"


def key_trigger_sql(
    table: Table, slots: Sequence[Slot], slot_count: int, move: int
) -> tuple[str, str]:
    """Return the statements that make the trigger against key changes, and its function."""
    function = Identifier(SCHEMA, key_function_name(table, move)).as_string(None)
    body = _KEY_BODY.format(
        old_moves=in_slots_sql(table.key, slots, slot_count, "OLD."),
        new_moves=in_slots_sql(table.key, slots, slot_count, "NEW."),
        old_slot=slot_sql(table.key, slot_count, "OLD."),
        new_slot=slot_sql(table.key, slot_count, "NEW."),
        says=_quoted(f"the shard key of {table.full_name} cannot change from slot "),
        hint=_quoted(_hint(move)),
        move=move,
        schema=_quoted(table.schema),
        table=_quoted(table.name),
    )
    trigger = Identifier(key_trigger_name(move)).as_string(None)
    changed = " OR ".join(
        f"OLD.{name} IS DISTINCT FROM NEW.{name}"
        for name in (Identifier(column.name).as_string(None) for column in table.key)
    )
    made = f"RETURNS trigger {_TRIGGER_SQL}"
    event = f"BEFORE UPDATE ON {table_sql(table)} FOR EACH ROW WHEN ({changed})"
    return (
        f"CREATE OR REPLACE FUNCTION {function}() {made} AS {_quoted(body)}",
        f"CREATE OR REPLACE TRIGGER {trigger} {event} EXECUTE FUNCTION {function}()",
    )


def truncate_trigger_sql(schema: str, name: str, move: int) -> str:
    """Return the statement that makes the trigger against TRUNCATE on one relation."""
    trigger = Identifier(truncate_trigger_name(move)).as_string(None)
    relation = Identifier(schema, name).as_string(None)
    return (
        f"CREATE OR REPLACE TRIGGER {trigger} BEFORE TRUNCATE ON {relation}"
        f" FOR EACH STATEMENT EXECUTE FUNCTION shardrouter.refuse_truncate_in_move('{move:d}')"
    )


def drop_triggers_sql(schema: str, name: str, move: int) -> tuple[str, ...]:
    """Return the statements that undo the triggers of a relation."""
    relation = Identifier(schema, name).as_string(None)
    return tuple(
        f"DROP TRIGGER IF EXISTS {Identifier(trigger).as_string(None)} ON {relation}"
        for trigger in (
            key_trigger_name(move),
            truncate_trigger_name(move),
            pace_trigger_name(move),
        )
    )


def drop_key_function_sql(table: Table, move: int) -> str:
    function = Identifier(SCHEMA, key_function_name(table, move)).as_string(None)
    return f"DROP FUNCTION IF EXISTS {function}()"


def _hint(move: int) -> str:
    return (
        f"wait until the move is over (`shardrouter move show {move}`), or give it up with"
        f" `shardrouter move abort {move}`"
    )


def _quoted(text: str) -> str:
    return Literal(text).as_string(None)


_KEY_BODY: Final = """
BEGIN
  IF ({old_moves} OR {new_moves}) AND {old_slot} <> {new_slot} THEN
    RAISE EXCEPTION USING
      ERRCODE = 'object_not_in_prerequisite_state',
      MESSAGE = concat({says}, {old_slot}, ' to ', {new_slot}, ' while move {move} carries rows'),
      HINT = {hint}, SCHEMA = {schema}, TABLE = {table};
  END IF;
  RETURN NEW;
END
"""

_HINT_OF_MOVE: Final = (
    "concat('wait until the move is over (`shardrouter move show ', {move}, '`), or give it up"
    " with `shardrouter move abort ', {move}, '`')"
)

_TRUNCATE_BODY: Final = f"""
BEGIN
  RAISE EXCEPTION USING
    ERRCODE = 'object_not_in_prerequisite_state',
    MESSAGE = format('%I.%I cannot be truncated while move %s carries its rows',
                     TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_ARGV[0]),
    HINT = {_HINT_OF_MOVE.format(move="TG_ARGV[0]")},
    SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
END
"""

# CREATE TRIGGER is let through: guards are replaced during a move. So are GRANT, COMMENT and what
# else does not change the rows' form, and the ALTER TABLE of a mover that turns its trigger on.
_DDL_BODY: Final = f"""
DECLARE
  found record;
BEGIN
  IF current_setting('shardrouter.makes_triggers', true) = 'on' THEN
    RETURN;
  END IF;
  SELECT l.move, l.table_schema, l.table_name, c.command_tag INTO found
    FROM pg_event_trigger_ddl_commands() c
    JOIN shardrouter.move_lock l
      ON c.objid = ANY (l.relations)
      OR (SELECT i.indrelid FROM pg_index i WHERE i.indexrelid = c.objid) = ANY (l.relations)
      OR EXISTS (SELECT FROM pg_inherits h
                  WHERE h.inhrelid = c.objid AND h.inhparent = ANY (l.relations))
   WHERE c.classid = 'pg_class'::regclass
     AND c.command_tag IN ('ALTER TABLE', 'ALTER INDEX', 'CREATE INDEX', 'CREATE TABLE')
   ORDER BY l.move LIMIT 1;
  IF found.move IS NOT NULL THEN
    RAISE EXCEPTION USING
      ERRCODE = 'object_not_in_prerequisite_state',
      MESSAGE = format('%s on %I.%I is held back while move %s carries its rows',
        found.command_tag, found.table_schema, found.table_name, found.move),
      HINT = {_HINT_OF_MOVE.format(move="found.move")};
  END IF;
END
"""

_DROP_BODY: Final = f"""
DECLARE
  found record;
BEGIN
  SELECT l.move, l.table_schema, l.table_name, d.object_identity INTO found
    FROM pg_event_trigger_dropped_objects() d
    JOIN shardrouter.move_lock l ON d.objid = ANY (l.relations)
   WHERE d.classid = 'pg_class'::regclass
   ORDER BY l.move LIMIT 1;
  IF found.move IS NOT NULL THEN
    RAISE EXCEPTION USING
      ERRCODE = 'object_not_in_prerequisite_state',
      MESSAGE = format('%s cannot be dropped while move %s carries rows of %I.%I',
        found.object_identity, found.move, found.table_schema, found.table_name),
      HINT = {_HINT_OF_MOVE.format(move="found.move")};
  END IF;
END
"""

# The session that runs DDL has no rights in our schema.
_DEFINER: Final = "LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp"

_TRIGGER_SQL: Final = "LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp"

TRUNCATE_FUNCTION_SQL: Final = (
    "CREATE OR REPLACE FUNCTION shardrouter.refuse_truncate_in_move() RETURNS trigger"
    f" {_TRIGGER_SQL} AS $move${_TRUNCATE_BODY}$move$"
)

_DDL_FUNCTION_SQL: Final = (
    "CREATE OR REPLACE FUNCTION shardrouter.refuse_ddl_in_move() RETURNS event_trigger"
    f" {_DEFINER} AS $move${_DDL_BODY}$move$"
)
_DROP_FUNCTION_SQL: Final = (
    "CREATE OR REPLACE FUNCTION shardrouter.refuse_drop_in_move() RETURNS event_trigger"
    f" {_DEFINER} AS $move${_DROP_BODY}$move$"
)

_RUN: Final = f"EXECUTE FUNCTION {SCHEMA}"

EVENT_TRIGGERS_SQL: Final[Mapping[str, tuple[str, str]]] = {
    DDL_TRIGGER: (
        _DDL_FUNCTION_SQL,
        f"CREATE EVENT TRIGGER {DDL_TRIGGER} ON ddl_command_end {_RUN}.refuse_ddl_in_move()",
    ),
    DROP_TRIGGER: (
        _DROP_FUNCTION_SQL,
        f"CREATE EVENT TRIGGER {DROP_TRIGGER} ON sql_drop {_RUN}.refuse_drop_in_move()",
    ),
}
"""By name of the event trigger, its function and itself."""
