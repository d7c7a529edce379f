"""``SHOW HELP``: the commands there are."""

from collections.abc import Sequence
from typing import Final

from shardrouter.proxy.admin.command import AdminContext, Answer, Command

_COLUMNS: Final = ("command", "does")


def help_on(commands: Sequence[Command]) -> Command:
    """Return ``SHOW HELP`` for these commands and itself."""

    async def run(context: AdminContext, argument: str) -> Answer:
        return Answer([(each.usage, each.summary) for each in (*commands, command)])

    command = Command("SHOW HELP", "this list", run, _COLUMNS)
    return command
