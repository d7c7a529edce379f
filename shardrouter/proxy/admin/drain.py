"""``DRAIN``: stop this proxy gently."""

from shardrouter.proxy.admin.command import AdminContext, Answer, Command


async def _run(context: AdminContext, argument: str) -> Answer:
    await context.ask_parent("drain")
    seconds = context.settings().proxy.drain_seconds
    return Answer(
        notes=[f"no new clients; transactions have {seconds:g} s to end, then the proxy stops"]
    )


COMMAND = Command("DRAIN", "accept nobody, let transactions end, then stop", _run)
