"""Find out why a stream stopped: rows whose unique keys the target has given away already.

The server tells the words of the error to its log only. A clash of unique keys is by far the most
likely cause, and can be seen: so it is looked for, among so many rows at most.
"""

from collections.abc import Sequence
from typing import Any, Final

from psycopg.sql import Identifier, Literal
from sqlalchemy import Connection, text

from shardrouter.postgres import in_slots_sql, table_sql
from shardrouter.rebalance.job import Job
from shardrouter.topology import Table

ROWS: Final = 50_000  # of each index
BATCH: Final = 1000


def describe_conflicts(job: Job) -> str:
    """Return, for people, what the stream of the move runs into."""
    for table in job.tables():
        with job.read(job.move.gaining) as connection:
            indexes = connection.execute(
                _UNIQUE, {"schema": table.schema, "name": table.name}
            ).all()
        for index in indexes:
            found = _first_clash(job, table, list(index.columns))
            if found is not None:
                columns = ", ".join(index.columns)
                return (
                    f"{table.full_name} has ({columns}) = ({', '.join(found)}) on"
                    f" {job.move.gaining} already, in a row of a slot that does not move"
                )
    return "the server's log says why"


def _first_clash(job: Job, table: Table, columns: list[str]) -> Sequence[str] | None:
    names = [Identifier(column).as_string(None) for column in columns]
    moving = in_slots_sql(table.key, job.move.slots, job.topology.slots)
    texts = ", ".join(f"{name}::text" for name in names)
    given = " AND ".join(f"{name} IS NOT NULL" for name in names)
    query = f"SELECT {texts} FROM {table_sql(table)} WHERE {moving} AND {given} LIMIT {ROWS}"
    with job.read(job.move.losing) as connection:
        keys = _all(connection, query)
    with job.read(job.move.gaining) as connection:
        for first in range(0, len(keys), BATCH):
            wanted = ", ".join(_row(key) for key in keys[first : first + BATCH])
            found = _all(
                connection,
                f"SELECT {texts} FROM {table_sql(table)}"
                f" WHERE ROW({texts}) IN ({wanted}) AND NOT {moving} LIMIT 1",
            )
            if found:
                return tuple(found[0])
    return None


def _all(connection: Connection, query: str) -> Sequence[Any]:
    return connection.exec_driver_sql(query, execution_options={"no_parameters": True}).all()


def _row(key: Sequence[str]) -> str:
    return f"ROW({', '.join(Literal(value).as_string(None) for value in key)})"


_UNIQUE: Final = text(
    """
SELECT (SELECT array_agg(a.attname::text ORDER BY part.place)
          FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS part (attnum, place)
          JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = part.attnum
         WHERE part.place <= i.indnkeyatts) AS columns
  FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = :schema AND c.relname = :name AND i.indisunique
   AND i.indexprs IS NULL AND i.indpred IS NULL
 ORDER BY i.indexrelid
"""
)
