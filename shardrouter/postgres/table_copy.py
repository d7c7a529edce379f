"""Copy whole tables that must hold the same rows on every shard, and tell whether they do."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from psycopg.sql import Identifier
from sqlalchemy import Connection, exc, text

from shardrouter.errors import LockTimeout
from shardrouter.postgres.locks import (
    DEADLOCK_DETECTED,
    LOCK_NOT_AVAILABLE,
    PATIENCE,
    Patience,
    Sleep,
    holders_of,
)
from shardrouter.postgres.verbatim import run_verbatim
from shardrouter.topology import Table


@dataclass(frozen=True, slots=True)
class Relation:
    """A table by its names; it need not be registered."""

    schema: str
    name: str

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def sql(self) -> str:
        return Identifier(self.schema, self.name).as_string(None)


@dataclass(frozen=True, slots=True)
class TableDigest:
    """Two tables with equal digests hold the same rows, in whatever order."""

    rows: int
    digest: str


def table_digest(connection: Connection, relation: Relation) -> TableDigest:
    """Read the table and return its digest, within the caller's transaction."""
    run_verbatim(connection, _SAME_TEXTS)
    row = run_verbatim(connection, _DIGEST.format(table=relation.sql)).one()
    return TableDigest(row.rows, str(row.digest))


def copy_table(source: Connection, target: Connection, relation: Relation) -> int:
    """Replace the target's rows by the source's, within the callers' transactions; return them.

    The target's triggers do not fire where the role may switch them off.
    """
    run_verbatim(source, _SAME_TEXTS)
    run_verbatim(target, _SAME_TEXTS)
    columns = ", ".join(
        Identifier(row.attname).as_string(None)
        for row in source.execute(_COLUMNS, {"schema": relation.schema, "name": relation.name})
    )
    run_verbatim(target, f"DELETE FROM {relation.sql}")
    read = f"COPY (SELECT {columns} FROM {relation.sql}) TO STDOUT"
    write = f"COPY {relation.sql} ({columns}) FROM STDIN"
    with _cursor(source) as reading, _cursor(target) as writing:
        with reading.copy(read) as rows, writing.copy(write) as into:
            for data in rows:
                into.write(data)
        return int(writing.rowcount)


def fire_no_triggers(connection: Connection) -> bool:
    """Switch triggers and foreign keys off for the transaction; False when the role may not."""
    try:
        with connection.begin_nested():
            run_verbatim(connection, "SET LOCAL session_replication_role = replica")
    except exc.ProgrammingError:  # insufficient privilege
        return False
    return True


@contextmanager
def nobody_writes(
    connection: Connection,
    tables: Sequence[Table],
    *,
    sleep: Sleep,
    patience: Patience = PATIENCE,
) -> Iterator[None]:
    """Keep the tables from being written during the block, in a transaction of its own.

    Writers that had begun, prepared ones too, end first; later ones wait. The connection has no
    transaction open. Raises LockTimeout, naming who holds the tables.
    """
    names = ", ".join(Relation(t.schema, t.name).sql for t in tables)
    for attempt in range(patience.attempts):
        transaction = connection.begin()
        try:
            wait_ms = min(patience.first_ms << attempt, patience.longest_ms)
            run_verbatim(connection, f"SET LOCAL lock_timeout = '{wait_ms}ms'")
            run_verbatim(connection, f"LOCK TABLE {names} IN SHARE MODE")
        except exc.DBAPIError as error:
            transaction.rollback()
            if getattr(error.orig, "sqlstate", None) not in (LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED):
                raise
            sleep(patience.pause_seconds)
            continue
        try:
            yield
        finally:
            transaction.rollback()  # nothing was written here
        return
    raise _still_locked(connection, tables, patience)


def _still_locked(
    connection: Connection, tables: Sequence[Table], patience: Patience
) -> LockTimeout:
    with connection.begin():
        holders = holders_of(connection, tables)
    names = ", ".join(table.full_name for table in tables)
    return LockTimeout(
        f"{names} stayed locked through {patience.attempts} attempts",
        hint=f"end or wait for {'; '.join(holders) or 'the long transactions on it'}, then repeat",
    )


def _cursor(connection: Connection) -> Any:
    driver: Any = connection.connection.driver_connection
    return driver.cursor()


# Whatever the roles' settings are, equal values are equal texts on both sides.
_SAME_TEXTS: Final = (
    "SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL intervalstyle = 'postgres';"
    " SET LOCAL extra_float_digits = 3; SET LOCAL bytea_output = 'hex';"
    " SET LOCAL timezone = 'UTC'; SET LOCAL client_encoding = 'UTF8';"
    " SET LOCAL xmloption = 'content'"
)

_DIGEST: Final = (
    "SELECT pg_catalog.count(*) AS rows,"
    " coalesce(pg_catalog.sum(pg_catalog.hashtextextended(copied::text, 0)), 0) AS digest"
    " FROM {table} AS copied"
)

_COLUMNS: Final = text(
    """
SELECT a.attname
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = :schema AND c.relname = :name
   AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
 ORDER BY a.attnum
"""
)
