"""The definitions of a shard's registered tables as one SQL script, by pg_dump.

Types, functions, extensions and sequences come along; tables that are not registered, views, and
whatever shardrouter itself has put there (guards, locks of moves) stay behind.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from psycopg import pq
from psycopg.sql import Identifier
from sqlalchemy import Connection, text

from shardrouter.errors import BackendUnreachable, UnsupportedSchema
from shardrouter.postgres.guard_sql import SCHEMA
from shardrouter.topology import Table

TIMEOUT_SECONDS: Final = 120.0
VERSION_TABLE: Final = "alembic_version"
"""Where alembic keeps the revision; the copy must know which migrations it has had."""

_DUMP: Final = (
    "--format=custom",
    "--schema-only",
    "--no-owner",
    "--no-publications",
    "--no-subscriptions",
    "--no-security-labels",
    "--no-tablespaces",
    f"--exclude-schema={SCHEMA}",
)


def version_tables(connection: Connection) -> tuple[tuple[str, str], ...]:
    """Return schema and name of alembic's tables in this database, but for the catalog's own."""
    rows = connection.execute(_VERSION_TABLES, {"name": VERSION_TABLE, "ours": SCHEMA})
    return tuple((row.nspname, row.relname) for row in rows)


def dump_schema(
    connection: Connection, dsn: str, programs: Path, tables: Sequence[Table]
) -> tuple[str, list[str]]:
    """Return a script that makes the tables, and the names of what is left out.

    connection, dsn: to the shard that has them. programs: the directory of pg_dump. The script
    is for one transaction on an empty database. Raises BackendUnreachable, UnsupportedSchema.
    """
    left_out = _strangers(connection, tables)
    ours = _own_triggers(connection)
    with tempfile.TemporaryDirectory(prefix="shardrouter-") as folder:
        archive, contents = Path(folder) / "archive", Path(folder) / "contents"
        without = [
            f"--exclude-table={Identifier(schema, name).as_string(None)}"
            for schema, name in left_out
        ]
        _run([programs / "pg_dump", *_DUMP, *without, f"--file={archive}"], dsn)
        listed = _run([programs / "pg_restore", "--list", archive])
        contents.write_text("".join(kept_contents(listed, ours)))
        restore = ("--no-owner", f"--use-list={contents}", "--file=-")
        script = _run([programs / "pg_restore", *restore, archive])
    return clean_script(script), [f"{schema}.{name}" for schema, name in left_out]


def kept_contents(listed: str, ours: Sequence[str]) -> Iterator[str]:
    """Yield the lines of an archive's table of contents that are not shardrouter's. Pure.

    ours: ``TRIGGER <schema> <table> <name>`` and ``EVENT TRIGGER - <name>``.
    """
    for line in listed.splitlines(keepends=True):
        if not any(f" {entry} " in line for entry in ours):
            yield line


def clean_script(script: str) -> str:
    """Return the script without what only psql, or only a newer server, understands. Pure."""
    return "".join(
        line
        for line in script.splitlines(keepends=True)
        if not line.startswith(("\\restrict ", "\\unrestrict ", "SET transaction_timeout "))
    )


def _strangers(connection: Connection, tables: Sequence[Table]) -> list[tuple[str, str]]:
    """Return schema and name of tables and views that are not registered."""
    known = {(table.schema, table.name) for table in tables}
    rows = connection.execute(_RELATIONS, {"ours": SCHEMA, "version": VERSION_TABLE})
    found = ((row.nspname, row.relname) for row in rows)
    return [relation for relation in found if relation not in known]


def _own_triggers(connection: Connection) -> list[str]:
    return [row.entry for row in connection.execute(_OWN_TRIGGERS, {"ours": SCHEMA})]


def _run(command: Sequence[str | Path], dsn: str | None = None) -> str:
    """Run a program; its connection goes by environment, because everybody may read arguments."""
    given = {} if dsn is None else _environment(dsn)
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
            env={**os.environ, **given},
        )
    except subprocess.TimeoutExpired as error:
        raise BackendUnreachable(
            f"{Path(command[0]).name} did not end within {TIMEOUT_SECONDS:g} s",
            hint="end the session that holds a lock on the tables, then run the command again",
        ) from error
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[0]
        raise UnsupportedSchema(
            f"the tables' definitions cannot be read: {said}",
            hint="make the tables with `shardrouter migrate` or router.create_all instead",
        )
    return done.stdout


def _environment(dsn: str) -> dict[str, str]:
    """Return a connection string as libpq's environment variables."""
    return {
        option.envvar.decode(): option.val.decode()
        for option in pq.Conninfo.parse(dsn.encode())
        if option.val is not None and option.envvar is not None
    }


_VERSION_TABLES: Final = text(
    """
SELECT n.nspname, c.relname
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relname = :name AND c.relkind = 'r' AND n.nspname <> :ours
 ORDER BY 1
"""
)

_RELATIONS: Final = text(
    """
SELECT n.nspname, c.relname
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
   AND c.relpersistence <> 't' AND c.relname <> :version
   AND n.nspname NOT IN ('information_schema', :ours) AND n.nspname NOT LIKE 'pg\\_%'
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                      AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY 1, 2
"""
)

_OWN_TRIGGERS: Final = text(
    """
SELECT concat_ws(' ', 'TRIGGER', tn.nspname, c.relname, t.tgname) AS entry
  FROM pg_catalog.pg_trigger t
  JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
  JOIN pg_catalog.pg_namespace tn ON tn.oid = c.relnamespace
  JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
  JOIN pg_catalog.pg_namespace pn ON pn.oid = p.pronamespace
 WHERE pn.nspname = :ours AND NOT t.tgisinternal
UNION ALL
SELECT concat_ws(' ', 'EVENT TRIGGER -', e.evtname)
  FROM pg_catalog.pg_event_trigger e
  JOIN pg_catalog.pg_proc p ON p.oid = e.evtfoid
  JOIN pg_catalog.pg_namespace pn ON pn.oid = p.pronamespace
 WHERE pn.nspname = :ours
"""
)
