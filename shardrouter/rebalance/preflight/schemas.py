"""Whether the moving tables are the same on both sides, and stayed as they were.

Fingerprints tell in words, and take a few queries for each table. A stamp of the system catalogs'
row versions tells in one, while writers wait, that nothing was altered since.
"""

from typing import Final

from sqlalchemy import Connection, text

from shardrouter.errors import MoveRefused
from shardrouter.postgres.moving import differences, fingerprint
from shardrouter.rebalance.job import Job
from shardrouter.rebalance.sessions import Identity
from shardrouter.rebalance.troubles import StreamLost
from shardrouter.topology import ShardId, Table


def table_differences(source: Connection, target: Connection, table: Table) -> list[str]:
    """Return in words what differs; ``here`` is the source. Raises MoveRefused when it is gone."""
    return differences(fingerprint(source, table), fingerprint(target, table))


def require_same_tables(job: Job) -> None:
    """Raise StreamLost when tables were registered or altered since the move began."""
    require_same_register(job)
    found: list[str] = []
    with job.read(job.move.source) as source, job.read(job.move.target) as target:
        for table in job.tables():
            try:
                found += [
                    f"{table.full_name}: {d}" for d in table_differences(source, target, table)
                ]
            except MoveRefused as error:
                found.append(error.message)
    if found:
        raise StreamLost(
            f"the tables differ between {job.move.source} (here) and {job.move.target} (there):"
            f" {'; '.join(found)}",
            hint="bring both to the same revision with `shardrouter migrate upgrade`",
        )


def require_same_register(job: Job) -> None:
    """Raise StreamLost when a table was registered since the move began: its rows do not move."""
    registered = [table.full_name for table in job.tables()]
    known = job.facts.get("tables")
    if registered != known:
        raise StreamLost(
            f"tables were registered since the copy began: {registered}, before {known}",
            epoch=job.topology.epoch,
            hint="nothing is to be done: the rows are copied again",
        )


def stamp_of(job: Job, shard: ShardId) -> tuple[str, Identity]:
    """Return a text that changes when a moving table is altered on the shard, and who it is."""
    tables = job.tables()
    names = {"schemas": [t.schema for t in tables], "tables": [t.name for t in tables]}
    with job.ask(shard) as connection:
        row = connection.execute(_STAMP, names).one()
    return row.stamp, Identity(row.system_id, int(row.timeline, 16))


_STAMP: Final = text(
    """
WITH moving AS (
  SELECT c.oid FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE (n.nspname, c.relname) IN (SELECT * FROM unnest(:schemas ::text[], :tables ::text[])))
SELECT coalesce(md5(string_agg(part, ' ' ORDER BY part)), '') AS stamp,
       (SELECT system_identifier::text FROM pg_catalog.pg_control_system()) AS system_id,
       pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8)
         AS timeline
  FROM (
  SELECT concat_ws(':', attrelid, attnum, xmin) AS part
    FROM pg_catalog.pg_attribute WHERE attrelid IN (SELECT oid FROM moving)
  UNION ALL
  SELECT concat_ws(':', 'constraint', oid, xmin)
    FROM pg_catalog.pg_constraint WHERE conrelid IN (SELECT oid FROM moving)
  UNION ALL
  SELECT concat_ws(':', 'index', indexrelid, xmin)
    FROM pg_catalog.pg_index WHERE indrelid IN (SELECT oid FROM moving)) AS parts
"""
)
