"""What a table looks like on a shard, in words that can be compared with another shard's."""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, text

from shardrouter.errors import MoveRefused
from shardrouter.topology import Table

Fingerprint = Mapping[str, str]
"""What there is, and how it is defined: ``column note`` -> ``text``. Fit for JSON."""


def fingerprint(connection: Connection, table: Table) -> Fingerprint:
    """Return what decides whether rows of the table mean the same on two shards.

    Columns, constraints, indexes, replica identity, partitions. Not: triggers, rights, and the
    names of indexes and constraints. Raises MoveRefused when the table is not there.
    """
    names = {"schema": table.schema, "table": table.name}
    oid = connection.execute(_OID, names).scalar_one_or_none()
    if oid is None:
        raise MoveRefused(
            f"there is no table {table.full_name}", hint="make it on every shard first"
        )
    connection.execute(_QUALIFY)  # names are told with their schema, whatever the role's path is
    found: dict[str, str] = {}
    for row in connection.execute(_PARTS, {"oid": oid}):
        # Two equal indexes make two entries.
        key, number = row.part, 2
        while key in found:
            key, number = f"{row.part} ({number})", number + 1
        found[key] = row.definition
    return found


def differences(ours: Fingerprint, theirs: Fingerprint) -> list[str]:
    """Return, in words, in what two fingerprints differ; empty when they are equal."""
    found: list[str] = []
    for part in sorted({*ours, *theirs}):
        here, there = ours.get(part), theirs.get(part)
        if here == there:
            continue
        if there is None:
            found.append(
                f"{part} is missing there ({here})" if here else f"{part} is missing there"
            )
        elif here is None:
            found.append(
                f"{part} is missing here ({there})" if there else f"{part} is missing here"
            )
        else:
            found.append(f"{part} is {here} here, {there} there")
    return found


_QUALIFY: Final = text("SELECT pg_catalog.set_config('search_path', 'pg_catalog', true)")
_OID: Final = text(
    "SELECT c.oid FROM pg_catalog.pg_class c"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = :schema AND c.relname = :table"
)

# Postgres 18 lists NOT NULL among the constraints; the columns tell it for all versions.
_PARTS: Final = text(
    r"""
SELECT 'table' AS part,
       concat_ws(', ', CASE c.relkind WHEN 'r' THEN 'ordinary'
                 WHEN 'p' THEN 'partitioned ' || pg_catalog.pg_get_partkeydef(c.oid)
                 ELSE 'of kind ' || c.relkind::text END,
                 CASE c.relpersistence WHEN 'p' THEN 'logged' ELSE 'not logged' END) AS definition
  FROM pg_catalog.pg_class c WHERE c.oid = :oid
UNION ALL
SELECT 'replica identity',
       CASE c.relreplident WHEN 'd' THEN 'primary key' WHEN 'f' THEN 'whole row'
            WHEN 'n' THEN 'none' ELSE 'columns ' || (
              SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attname)
                FROM pg_catalog.pg_index i
                JOIN pg_catalog.pg_attribute a
                  ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])
               WHERE i.indrelid = c.oid AND i.indisreplident) END
  FROM pg_catalog.pg_class c WHERE c.oid = :oid
UNION ALL
SELECT 'column ' || quote_ident(a.attname),
       concat_ws(' ', pg_catalog.format_type(a.atttypid, a.atttypmod),
         CASE WHEN a.attcollation <> t.typcollation
              THEN 'collate ' || (SELECT quote_ident(collname) FROM pg_catalog.pg_collation
                                   WHERE oid = a.attcollation) END,
         CASE WHEN a.attnotnull THEN 'not null' END,
         CASE a.attidentity WHEN 'a' THEN 'identity always' WHEN 'd' THEN 'identity' END,
         CASE WHEN a.attgenerated <> ''
              THEN 'generated (' || a.attgenerated::text || ') as '
                   || pg_catalog.pg_get_expr(d.adbin, d.adrelid)
              WHEN a.atthasdef THEN 'default' END)
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attrelid = :oid AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT 'constraint ' || pg_catalog.pg_get_constraintdef(k.oid), ''
  FROM pg_catalog.pg_constraint k
 WHERE k.conrelid = :oid AND k.contype IN ('p', 'u', 'c', 'f', 'x') AND k.conparentid = 0
UNION ALL
SELECT concat('index ', CASE WHEN i.indisunique THEN 'unique ' END,
         substr(pg_catalog.pg_get_indexdef(i.indexrelid), 2 + length(concat('CREATE ',
           CASE WHEN i.indisunique THEN 'UNIQUE ' END, 'INDEX ', quote_ident(ic.relname), ' ON ',
           CASE tc.relkind WHEN 'p' THEN 'ONLY ' END,
           quote_ident(n.nspname), '.', quote_ident(tc.relname))))),
       CASE WHEN i.indisvalid THEN '' ELSE 'not valid' END
  FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
  JOIN pg_catalog.pg_class tc ON tc.oid = i.indrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = tc.relnamespace
 WHERE i.indrelid = :oid
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = i.indexrelid
                      AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u', 'x'))
UNION ALL
SELECT 'partition ' || h.inhrelid::regclass::text,
       pg_catalog.pg_get_expr(c.relpartbound, c.oid)
  FROM pg_catalog.pg_inherits h JOIN pg_catalog.pg_class c ON c.oid = h.inhrelid
 WHERE h.inhparent = :oid
 ORDER BY 1, 2
"""
)
