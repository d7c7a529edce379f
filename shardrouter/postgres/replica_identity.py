"""Give a sharded table a replica identity that holds its shard key.

Moving slots publishes a table filtered by its key, and Postgres refuses every UPDATE and DELETE
of a published table whose filter reads a column outside the replica identity. So the identity is
made when the table is, not in the middle of a move.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

from psycopg.sql import Identifier
from sqlalchemy import Connection

from shardrouter.errors import UnsupportedSchema
from shardrouter.postgres.columns import TableFacts, read_table
from shardrouter.postgres.guard_sql import table_sql
from shardrouter.postgres.verbatim import run_verbatim
from shardrouter.topology import Table

_SUFFIX: Final = "_shardrouter_identity"
_IDENTIFIER_BYTES: Final = 63


def identity_index_name(table: Table) -> str:
    """Return the name of the index; a long table name is cut and told apart by a digest."""
    name = table.name + _SUFFIX
    if len(name.encode()) <= _IDENTIFIER_BYTES:
        return name
    digest = hashlib.sha256(table.name.encode()).hexdigest()[:8]
    kept = table.name.encode()[: _IDENTIFIER_BYTES - len(_SUFFIX) - 9].decode(errors="ignore")
    return f"{kept}_{digest}{_SUFFIX}"


def identity_sql(table: Table, primary_key: Sequence[str]) -> tuple[str, str]:
    """Return the statements that make the identity of the primary key and the shard key."""
    key = [column.name for column in table.key]
    columns = ", ".join(
        Identifier(name).as_string(None)
        for name in (*primary_key, *(name for name in key if name not in primary_key))
    )
    index = Identifier(identity_index_name(table)).as_string(None)
    return (
        f"CREATE UNIQUE INDEX IF NOT EXISTS {index} ON {table_sql(table)} ({columns})",
        f"ALTER TABLE {table_sql(table)} REPLICA IDENTITY USING INDEX {index}",
    )


def ensure_identity(connection: Connection, table: Table) -> None:
    """Make the replica identity of an empty table hold the shard key; nothing when it does.

    Runs in the caller's transaction. Raises UnsupportedSchema, with the statements to run, for
    a table that has rows: building the index there would block its writers.
    """
    facts = read_table(connection, table.schema, table.name)
    if facts is None or facts.identity_holds([column.name for column in table.key]):
        return
    _refuse_unfit(facts)
    statements = identity_sql(table, facts.primary_key)
    if run_verbatim(connection, f"SELECT EXISTS (SELECT FROM {table_sql(table)})").scalar_one():
        build = statements[0].replace("INDEX IF", "INDEX CONCURRENTLY IF", 1)
        raise UnsupportedSchema(
            f"the replica identity of {table.full_name} does not hold its shard key",
            hint=f"the table has rows, so do it at a quiet time: {build}; {statements[1]};",
        )
    for statement in statements:
        run_verbatim(connection, statement)


def _refuse_unfit(facts: TableFacts) -> None:
    if not facts.primary_key:
        raise UnsupportedSchema(
            f"{facts.full_name} has no primary key",
            hint="give it one, with the shard key in it: rows without identity cannot be moved",
        )
    if facts.kind == "p":
        raise UnsupportedSchema(
            f"the primary key of the partitioned table {facts.full_name} lacks the shard key",
            hint="add the shard key to the primary key: partitions inherit no other identity",
        )
