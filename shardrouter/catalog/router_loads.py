"""What routers have counted: queries by slot, which fade with time by the catalog's clock."""

from collections.abc import Iterable, Mapping
from typing import Final

from sqlalchemy import Engine, text

from shardrouter.catalog.connect import answering
from shardrouter.catalog.heartbeat import one_journey
from shardrouter.catalog.records import Registration
from shardrouter.topology import HALF_LIFE_SECONDS, Slot

KEEP_SECONDS: Final = 3600.0  # then a 64th is left

# The fleet is asked for: the catalog's database may have become another one's.
_REPORT: Final = text("""
WITH forgotten AS (
    DELETE FROM shardrouter.router_loads WHERE router IN (
        SELECT router FROM shardrouter.router_loads
         WHERE reported_at < pg_catalog.clock_timestamp()
                           - pg_catalog.make_interval(secs => :keep) AND router <> :router
           FOR UPDATE SKIP LOCKED))
INSERT INTO shardrouter.router_loads (router, slots, queries)
SELECT :router, CAST(:slots AS integer[]), CAST(:queries AS bigint[])
  FROM shardrouter.fleet WHERE fleet.id = :fleet
    ON CONFLICT (router) DO UPDATE
   SET reported_at = excluded.reported_at, slots = excluded.slots, queries = excluded.queries
""")
_TOTAL: Final = text("""
SELECT counted.slot, pg_catalog.sum(counted.queries * pg_catalog.power(0.5, reported.age / :half))
  FROM (SELECT slots, queries, GREATEST(0, CAST(EXTRACT(epoch FROM
               pg_catalog.clock_timestamp() - reported_at) AS double precision)) AS age
          FROM shardrouter.router_loads) AS reported,
       ROWS FROM (pg_catalog.unnest(reported.slots), pg_catalog.unnest(reported.queries))
       AS counted (slot, queries)
 WHERE reported.age < :keep
 GROUP BY counted.slot
""")


class RouterLoads:
    """How busy slots are. Every method is one statement, and raises as ``CatalogStore`` does."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def report(self, me: Registration, queries: Mapping[Slot, float]) -> None:
        """Take the place of what this router told before; forget rows that have faded."""
        with one_journey(self._engine) as connection:
            connection.execute(
                _REPORT,
                {
                    "router": me.id,
                    "fleet": me.fleet,
                    "slots": _array(queries),
                    "queries": _array(map(round, queries.values())),
                    "keep": KEEP_SECONDS,
                },
            )

    def total(self) -> dict[Slot, float]:
        """Return the queries of each slot over all routers, faded until now."""
        with answering(), self._engine.connect() as connection:
            rows = connection.execute(_TOTAL, {"half": HALF_LIFE_SECONDS, "keep": KEEP_SECONDS})
            return {Slot(slot): float(queries) for slot, queries in rows}


def _array(numbers: Iterable[int]) -> str:
    """Return an array as Postgres reads it: psycopg would hold Python's lock ten times as long."""
    return f"{{{str(list(numbers))[1:-1]}}}"
