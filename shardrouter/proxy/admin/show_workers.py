"""``SHOW WORKERS``: the processes of this proxy, as the parent sees them."""

from typing import Final

from shardrouter.proxy.admin.command import AdminContext, Answer, Command, in_columns

_COLUMNS: Final = ("worker", "pid", "state", "age_seconds", "restarts")


async def _run(context: AdminContext, argument: str) -> Answer:
    return in_columns(_COLUMNS, await context.ask_parent("workers"))


COMMAND = Command("SHOW WORKERS", "worker processes and their restarts", _run, _COLUMNS)
