"""Bring the sequences behind moved tables past what the other side has given out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from psycopg.sql import Identifier
from sqlalchemy import Connection, text

from shardrouter.errors import MoveError
from shardrouter.topology import Table


@dataclass(frozen=True, slots=True)
class SequenceState:
    """A sequence that a column's default or identity draws from."""

    column: str
    """``schema.table.column``: how the two sides' sequences are matched."""

    quoted: str
    """The sequence's own name, as SQL."""

    last: int | None
    """The last value that may have been given out, cached ones included; None: none yet."""

    increment: int
    cache: int
    least: int
    most: int


def set_sequences(source: Connection, target: Connection, tables: Sequence[Table]) -> list[str]:
    """Set the target's sequences behind the tables past the source's; return which were set.

    Never sets one back, and leaves alone what is far enough. Runs in the callers' transactions,
    but what a sequence was set to stays when they are rolled back. Raises MoveError when a
    sequence of the target has no such values left.
    """
    ours = {state.column: state for state in read_sequences(target, tables)}
    changed: list[str] = []
    for theirs in read_sequences(source, tables):
        mine = ours.get(theirs.column)
        value = None if mine is None else wanted_value(mine, theirs)
        if mine is None or value is None:
            continue
        target.execute(_SET, {"name": mine.quoted, "value": value})
        changed.append(mine.quoted)
    return changed


def wanted_value(mine: SequenceState, theirs: SequenceState) -> int | None:
    """Return what ``mine`` is to be set to so that it gives out nothing that ``theirs`` did.

    None: it is far enough. One cache is left between, for what sessions of the other side hold.
    Raises MoveError.
    """
    if theirs.last is None:
        return None
    step = 1 if mine.increment > 0 else -1
    gap = abs(theirs.increment) * theirs.cache * step
    if mine.last is not None and (mine.last - theirs.last) * step >= 0:
        return None
    value = theirs.last + gap
    if not mine.least <= value <= mine.most:
        raise MoveError(
            f"sequence {mine.quoted} cannot go on behind {value}: it ends at"
            f" {mine.most if step > 0 else mine.least}",
            hint=f"ALTER SEQUENCE {mine.quoted} AS bigint with a wider range, and its column too",
        )
    return value


def read_sequences(connection: Connection, tables: Sequence[Table]) -> list[SequenceState]:
    """Return the sequences that columns of the tables own or take their defaults from."""
    names = {"schemas": [t.schema for t in tables], "tables": [t.name for t in tables]}
    return [
        SequenceState(
            column=".".join((row.table_schema, row.table_name, row.column_name)),
            quoted=Identifier(row.schema, row.name).as_string(None),
            last=row.last,
            increment=row.increment,
            cache=row.cache,
            least=row.least,
            most=row.most,
        )
        for row in connection.execute(_SEQUENCES, names)
    ]


_SET: Final = text("SELECT pg_catalog.setval(CAST(:name AS regclass), :value, true)")

# pg_sequence_last_value is NULL before the first nextval.
_SEQUENCES: Final = text(
    """
WITH moved AS (
    SELECT c.oid, n.nspname, c.relname
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE (n.nspname, c.relname)
        IN (SELECT * FROM unnest(CAST(:schemas AS text[]), CAST(:tables AS text[])))
), used AS (
    SELECT m.oid, d.refobjsubid::int AS attnum, d.objid AS sequence
      FROM moved m
      JOIN pg_catalog.pg_depend d
        ON d.refclassid = 'pg_class'::regclass AND d.refobjid = m.oid AND d.refobjsubid > 0
       AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
    UNION
    SELECT m.oid, f.adnum::int, d.refobjid
      FROM moved m
      JOIN pg_catalog.pg_attrdef f ON f.adrelid = m.oid
      JOIN pg_catalog.pg_depend d
        ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
       AND d.refclassid = 'pg_class'::regclass
)
SELECT m.nspname AS table_schema, m.relname AS table_name, a.attname AS column_name,
       sn.nspname AS schema, s.relname AS name,
       pg_catalog.pg_sequence_last_value(s.oid) AS last,
       q.seqincrement AS increment, q.seqcache AS cache, q.seqmin AS least, q.seqmax AS most
  FROM used u
  JOIN moved m ON m.oid = u.oid
  JOIN pg_catalog.pg_attribute a ON a.attrelid = u.oid AND a.attnum = u.attnum
  JOIN pg_catalog.pg_class s ON s.oid = u.sequence AND s.relkind = 'S'
  JOIN pg_catalog.pg_namespace sn ON sn.oid = s.relnamespace
  JOIN pg_catalog.pg_sequence q ON q.seqrelid = s.oid
 ORDER BY 1, 2, 3, 5
"""
)
