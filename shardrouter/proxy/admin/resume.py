"""``RESUME``: the opposite of PAUSE."""

from shardrouter.proxy.admin.command import AdminContext, Answer, Command
from shardrouter.proxy.admin.pools import pools_of


async def _run(context: AdminContext, argument: str) -> Answer:
    await pools_of(context, argument)  # there is such a shard or node
    await context.ask_workers("resume", target=argument)
    return Answer()


COMMAND = Command("RESUME", "let paused clients go on", _run, argument="[shard or node]")
