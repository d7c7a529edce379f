"""Let a shard's guards admit more slots without a lock on the tables.

A guard that admits more may be replaced while writers run: one that still runs the old function
refuses a row that is its shard's by now, and is repeated. A guard that admits less may not.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection, text

from shardrouter.postgres.guard import lock_installers, record_guards, write_guards
from shardrouter.postgres.guard_sql import FUNCTION_CONFIG, SCHEMA, TRIGGER_NAME, Guard
from shardrouter.postgres.verbatim import run_verbatim
from shardrouter.topology import Epoch, Slot

_BITMAP: Final = re.compile(r"get_bit\(E'\\\\x([0-9a-f]+)'::pg_catalog\.bytea")


def widen_guards(connection: Connection, guards: Sequence[Guard]) -> bool:
    """Replace guards in the caller's transaction, which ``run_with_locks`` gives.

    True: only functions were replaced, for every standing guard is as we wrote it and admits no
    slot that the new one does not. Otherwise False, after ``write_guards``, which locks the
    tables. Raises StaleEpoch, SettingsError.
    """
    if not (lock_installers(connection) and _are_wider(connection, guards)):
        write_guards(connection, guards)
        return False
    ordered = sorted(guards, key=lambda guard: guard.table.full_name)
    record_guards(connection, ordered)
    run_verbatim(connection, ";\n".join(guard.install_sql()[0] for guard in ordered))
    return True


def owned_by_body(body: str) -> tuple[Slot, ...] | None:
    """Return the slots that the source of a guard's function admits; None when it is not ours."""
    found = _BITMAP.search(body)
    if found is None:
        return None
    bits = bytes.fromhex(found[1])
    return tuple(Slot(i) for i in range(len(bits) * 8) if bits[i >> 3] >> (i & 7) & 1)


def _are_wider(connection: Connection, guards: Sequence[Guard]) -> bool:
    tables = [guard.table for guard in guards]
    names = {"schemas": [t.schema for t in tables], "tables": [t.name for t in tables]}
    rows = connection.execute(_STANDING, {**names, "trigger": TRIGGER_NAME})
    standing = {(row.table_schema, row.table_name): row for row in rows}
    return all(
        _is_wider(guard, standing.get((guard.table.schema, guard.table.name))) for guard in guards
    )


def _is_wider(guard: Guard, row: Any) -> bool:
    if row is None or (row.nspname, row.proname) != (SCHEMA, guard.function_name):
        return False
    owned = owned_by_body(row.prosrc)
    return owned is not None and set(owned) <= set(guard.owned) and _is_ours(row, guard, owned)


def _is_ours(row: Any, guard: Guard, owned: tuple[Slot, ...]) -> bool:
    written = replace(guard, epoch=Epoch(row.epoch), owned=owned)
    return bool(row.prosrc == written.body() and row.proconfig == [FUNCTION_CONFIG])


_STANDING: Final = text(
    """
SELECT g.table_schema, g.table_name, f.proname, fn.nspname, f.prosrc, f.proconfig, g.epoch
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_trigger t ON t.tgrelid = c.oid AND t.tgname = :trigger
  JOIN pg_catalog.pg_proc f ON f.oid = t.tgfoid
  JOIN pg_catalog.pg_namespace fn ON fn.oid = f.pronamespace
  JOIN shardrouter.guard g ON g.table_schema = n.nspname AND g.table_name = c.relname
 WHERE (n.nspname, c.relname) IN (SELECT * FROM unnest(:schemas ::text[], :tables ::text[]))
   AND t.tgenabled = 'O' AND t.tgqual IS NULL
   AND t.tgtype = 31 AND t.tgattr::text = ''
"""
)
