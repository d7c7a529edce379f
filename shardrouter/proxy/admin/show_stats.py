"""``SHOW STATS``: what was done, by shard and role, since the workers started."""

from shardrouter.proxy.admin.command import AdminContext, Answer, Command, in_columns
from shardrouter.proxy.telemetry.census import STATS_COLUMNS, stats


async def _run(context: AdminContext, argument: str) -> Answer:
    return in_columns(STATS_COLUMNS, stats(await context.ask_workers("metrics")))


COMMAND = Command("SHOW STATS", "queries, bytes and times by shard and role", _run, STATS_COLUMNS)
