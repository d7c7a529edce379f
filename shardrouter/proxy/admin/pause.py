"""``PAUSE``: let running transactions end and start no new ones; clients wait.

Asks again until nothing runs there or the deadline is over. The pause itself holds from the first
answer on, whatever comes of the waiting, until RESUME.
"""

import asyncio
from typing import Final

from shardrouter.proxy.admin.command import AdminContext, Answer, Command
from shardrouter.proxy.admin.pools import pools_of

_ASK_EVERY_SECONDS: Final = 0.1


async def _run(context: AdminContext, argument: str) -> Answer:
    await pools_of(context, argument)  # there is such a shard or node
    await context.ask_workers("pause", target=argument)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + context.settings().proxy.drain_seconds
    while active := sum(row["active"] for row in await pools_of(context, argument)):
        if loop.time() >= deadline:
            note = f"paused, and {active} backends are still in use: see SHOW CLIENTS, or KILL"
            return Answer(notes=[note])
        await asyncio.sleep(_ASK_EVERY_SECONDS)
    return Answer()


COMMAND = Command(
    "PAUSE",
    "let transactions end, start no new ones; clients wait until RESUME",
    _run,
    argument="[shard or node]",
)
