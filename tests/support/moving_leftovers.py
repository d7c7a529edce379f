"""What a move may leave behind, and must not: asked of a shard and of the catalog."""

from typing import Any, Final

import psycopg
from sqlalchemy import Engine, text

SHARD_QUERY: Final = """
SELECT 'replication slot ' || slot_name FROM pg_replication_slots
 WHERE slot_type = 'logical' AND database = current_database()
UNION ALL
SELECT 'publication ' || pubname FROM pg_publication
UNION ALL
SELECT 'subscription ' || subname FROM pg_subscription
  JOIN pg_database ON pg_database.oid = subdbid WHERE datname = current_database()
UNION ALL
SELECT 'replication origin ' || roname FROM pg_replication_origin
UNION ALL
SELECT 'trigger ' || tgname || ' on ' || tgrelid::regclass FROM pg_trigger
 WHERE NOT tgisinternal AND tgname <> 'zzz_shardrouter_guard'
UNION ALL
SELECT 'event trigger ' || evtname FROM pg_event_trigger
UNION ALL
SELECT 'prepared transaction ' || gid FROM pg_prepared_xacts WHERE database = current_database()
UNION ALL
SELECT 'session ' || application_name FROM pg_stat_activity
 WHERE datname = current_database() AND application_name LIKE 'shardrouter-move-%'
"""

ROW_TABLES: Final = tuple(
    f"shardrouter.{name}" for name in ("move", "move_marker", "move_chunk", "move_pace")
)
"""What moves keep on shards while they last."""


def leftovers(connection: psycopg.Connection[Any]) -> list[str]:
    """Return what stands on a shard that is no table, guard or row of a test."""
    found = [name for (name,) in connection.execute(SHARD_QUERY).fetchall()]
    for table in ROW_TABLES:
        if connection.execute("SELECT to_regclass(%s)", [table]).fetchone() == (None,):
            continue
        rows = connection.execute(f"SELECT t::text FROM {table} t".encode()).fetchall()
        found += [f"row of {table} {row}" for (row,) in rows]
    return found


def catalog_leftovers(engine: Engine) -> list[str]:
    """Return what the catalog still has of moves that are over, and moves that are not."""
    unfinished = text(
        "SELECT 'move ' || number || ' is ' || state || coalesce(': ' || attention, '')"
        " FROM shardrouter.moves WHERE state NOT IN ('done', 'aborted', 'reversed')"
    )
    artefacts = text(
        "SELECT 'record of ' || kind || ' ' || name || ' of move ' || move"
        " FROM shardrouter.move_artefacts"
    )
    motions = text(
        "SELECT 'motion ' || motion::text FROM shardrouter.topology"
        "  JOIN shardrouter.fleet USING (epoch),"
        "  jsonb_array_elements(coalesce(document -> 'motions', '[]')) motion"
    )
    with engine.connect() as connection:
        return [
            row[0]
            for query in (unfinished, artefacts, motions)
            for row in connection.execute(query)
        ]
