"""The text of a guard: the trigger that rejects rows whose slot a shard does not own.

Pure: a table, a topology and a shard in, SQL out. ``guard`` installs and checks it;
docs/flows/guard.md tells why it looks as it does.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from psycopg.sql import Identifier

from shardrouter.errors import SlotNotOwned
from shardrouter.topology import Epoch, KeyColumn, ShardId, Slot, Table, Topology, slot_sql

SCHEMA: Final = "shardrouter"
TRIGGER_NAME: Final = "zzz_shardrouter_guard"
"""Postgres fires triggers by name: the guard must see the row as the other triggers left it."""

FUNCTION_CONFIG: Final = "search_path=pg_catalog, pg_temp"
_NAME_BYTES: Final = 40  # with prefix and digest well under the 63 of an identifier
_REFUSED: Final = SlotNotOwned.sqlstate


@dataclass(frozen=True, slots=True)
class Guard:
    """What one shard lets into one sharded table."""

    table: Table
    shard: ShardId
    epoch: Epoch
    slots: int
    owned: tuple[Slot, ...]
    """Slots it lets in."""

    fenced: tuple[Slot, ...] = ()
    """Slots that belong to the shard, and are paused."""

    @classmethod
    def of(cls, table: Table, topology: Topology, shard_id: ShardId) -> "Guard":
        """Return the guard that lets in the slots the topology gives the shard.

        Paused slots are let in nowhere: the guard of a topology that pauses slots fences them.
        """
        paused = topology.paused_slots
        owned = topology.slots_of(shard_id)
        fenced: tuple[Slot, ...] = ()
        if paused:
            fenced = tuple(slot for slot in owned if slot in paused)
            owned = tuple(slot for slot in owned if slot not in paused)
        return cls(table, shard_id, topology.epoch, topology.slots, owned, fenced)

    @property
    def function_name(self) -> str:
        """Name in the schema ``shardrouter``: readable, and unique by a digest of the full name."""
        name = f"{self.table.schema}_{self.table.name}".lower()
        readable = re.sub(r"[^a-z0-9_]", "_", name)[:_NAME_BYTES]
        exact = f"{self.table.schema}\0{self.table.name}"
        return f"guard_{readable}_{hashlib.sha256(exact.encode()).hexdigest()[:8]}"

    def body(self) -> str:
        """Return the plpgsql source. Equal guards have equal bodies."""
        return _BODY.format(
            about=_comment(f"{self.table.full_name} on {self.shard}, epoch {self.epoch}"),
            new_is_owned=self.is_owned_sql("NEW."),
            old_is_owned=self.is_owned_sql("OLD."),
            slot=slot_sql(self.table.key, self.slots, "refused."),
            key=_values(self.table.key, "refused."),
            no_key=_literal(f"the shard key of a row of {self.table.full_name} is NULL"),
            no_key_hint=_literal(f"give {_names(self.table.key)} a value"),
            says=_literal(f"shard {self.shard} does not own slot "),
            where=_literal(f") in table {self.table.full_name} (epoch {self.epoch})"),
            sqlstate=_literal(_REFUSED),
            detail=_literal(json.dumps(self._facts())),
            hint=_literal(
                "the slot belongs to another shard: load the topology again and run the whole"
                " transaction on its owner (`shardrouter slot KEY` names it)"
            ),
            schema=_literal(self.table.schema),
            table=_literal(self.table.name),
        )

    def install_sql(self) -> tuple[str, str]:
        """Return the statements that make or replace function and trigger, enabled."""
        function = Identifier(SCHEMA, self.function_name).as_string(None)
        trigger = f"{TRIGGER_NAME} BEFORE INSERT OR UPDATE OR DELETE ON {table_sql(self.table)}"
        body = self.body()
        quote = _dollar_quote(body)
        made = "RETURNS trigger LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp"
        return (
            f"CREATE OR REPLACE FUNCTION {function}() {made} AS {quote}{body}{quote}",
            f"CREATE OR REPLACE TRIGGER {trigger} FOR EACH ROW EXECUTE FUNCTION {function}()",
        )

    def is_owned_sql(self, prefix: str = "") -> str:
        """Return a SQL condition: the row's slot is owned. NULL where a key column is NULL."""
        return in_slots_sql(self.table.key, self.owned, self.slots, prefix)

    def is_home_sql(self) -> str:
        """The same for slots that belong to the shard, paused or not."""
        return in_slots_sql(self.table.key, self.owned + self.fenced, self.slots)

    def _facts(self) -> dict[str, object]:
        return {
            "schema": self.table.schema,
            "table": self.table.name,
            "key_columns": [column.name for column in self.table.key],
            "shard": self.shard,
            "epoch": self.epoch,
        }


def in_slots_sql(
    key: Sequence[KeyColumn], chosen: Sequence[Slot], slots: int, prefix: str = ""
) -> str:
    """Return a SQL condition: the row's slot is one of ``chosen``. NULL where a key column is.

    Only built-in immutable functions: also for row filters of publications.
    """
    bits = bytearray(slots // 8)
    for slot in chosen:
        bits[slot >> 3] |= 1 << (slot & 7)  # get_bit counts from the lowest bit of a byte
    # The E form means the same whatever standard_conforming_strings is in the session.
    bitmap = f"E'\\\\x{bits.hex()}'::pg_catalog.bytea"
    return f"pg_catalog.get_bit({bitmap}, {slot_sql(key, slots, prefix)}) = 1"


def guard_sql(table: Table, topology: Topology, shard_id: ShardId) -> str:
    """Return the whole guard as one script, for people who install it themselves."""
    return ";\n".join((*SCHEMA_SQL, *Guard.of(table, topology, shard_id).install_sql())) + ";\n"


def table_sql(table: Table) -> str:
    """Return the table's quoted name with its schema."""
    return Identifier(table.schema, table.name).as_string(None)


SCHEMA_SQL: Final = (
    "CREATE SCHEMA IF NOT EXISTS shardrouter",
    "REVOKE ALL ON SCHEMA shardrouter FROM PUBLIC",
    """CREATE TABLE IF NOT EXISTS shardrouter.guard (
    table_schema text NOT NULL,
    table_name text NOT NULL,
    function_name text NOT NULL,
    shard text NOT NULL,
    epoch bigint NOT NULL,
    slots integer NOT NULL,
    key_columns text[] NOT NULL,
    installed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (table_schema, table_name)
)""",
)
"""What the guards of a shard are kept in. Read by checks, never by the guards themselves."""

# The first lines are the whole cost of an allowed row. Postgres evaluates the bitmap once when
# it plans the expression; a table of owned slots, read under a snapshot, would let a REPEATABLE
# READ transaction that began before a change write after it.
_BODY: Final = """
{about}
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF {new_is_owned} THEN RETURN NEW; END IF;
  ELSIF TG_OP = 'UPDATE' THEN
    IF {old_is_owned}
      AND {new_is_owned} THEN RETURN NEW; END IF;
  ELSIF {old_is_owned} THEN
    RETURN OLD;
  END IF;
  DECLARE
    refused record := NEW;
    slot_number bigint;
  BEGIN
    IF TG_OP = 'DELETE' OR (TG_OP = 'UPDATE' AND ({old_is_owned}) IS NOT TRUE) THEN
      refused := OLD;
    END IF;
    slot_number := {slot};
    IF slot_number IS NULL THEN
      RAISE EXCEPTION USING ERRCODE = 'not_null_violation', MESSAGE = {no_key},
        HINT = {no_key_hint}, SCHEMA = {schema}, TABLE = {table};
    END IF;
    RAISE EXCEPTION USING
      ERRCODE = {sqlstate},
      MESSAGE = concat({says}, slot_number, ' of key (', concat_ws(', ', {key}), {where}),
      DETAIL = ({detail}::jsonb || jsonb_build_object(
        'slot', slot_number, 'key', jsonb_build_array({key}), 'operation', TG_OP))::text,
      HINT = {hint},
      SCHEMA = {schema},
      TABLE = {table};
  END;
END
"""


def _values(columns: Sequence[KeyColumn], prefix: str) -> str:
    return ", ".join(prefix + Identifier(column.name).as_string(None) for column in columns)


def _names(columns: Sequence[KeyColumn]) -> str:
    return " and ".join(column.name for column in columns)


def _comment(text: str) -> str:
    return f"-- Written by shardrouter for {' '.join(text.split())}; changes are overwritten."


def _literal(text: str) -> str:
    """Quote a text so that standard_conforming_strings does not matter."""
    quoted = text.replace("'", "''")
    if "\\" not in quoted:
        return f"'{quoted}'"
    return "E'" + quoted.replace("\\", "\\\\") + "'"


def _dollar_quote(body: str) -> str:
    quote = "$guard$"
    while quote in body:
        quote = f"{quote[:-1]}_$"
    return quote
