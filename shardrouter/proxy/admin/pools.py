"""Find the pools that a command names by their shard or node."""

from collections.abc import Sequence

from shardrouter.errors import UnknownShard
from shardrouter.proxy.admin.command import AdminContext
from shardrouter.proxy.telemetry.census import Row, merged


async def pools_of(context: AdminContext, target: str) -> Sequence[Row]:
    """Return the pools of a shard or node; all of them for an empty name. Raises UnknownShard."""
    nodes = merged("nodes", await context.ask_workers("show", what="nodes"))
    known = {row["shard"] for row in nodes} | {row["node"] for row in nodes}
    if target and target not in known:
        raise UnknownShard(
            f"there is no shard or node {target!r}",
            hint=f"known are {', '.join(sorted(known)) or 'none yet'}",
        )
    pools = merged("pools", await context.ask_workers("show", what="pools"))
    return [row for row in pools if target in ("", row["shard"], row["node"])]
