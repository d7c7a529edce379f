"""``SHOW VERSION``: which version runs, compiled or not."""

from shardrouter.build import describe
from shardrouter.proxy.admin.command import AdminContext, Answer, Command


async def _run(context: AdminContext, argument: str) -> Answer:
    return Answer([(describe(),)])


COMMAND = Command("SHOW VERSION", "version, and whether it runs compiled", _run, ("version",))
