"""Find the command a text names, and check that its user may run it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shardrouter.errors import AdminDenied, AdminSyntaxError
from shardrouter.proxy.admin import (
    drain,
    kill,
    pause,
    reload,
    resume,
    show_backends,
    show_clients,
    show_config,
    show_help,
    show_leases,
    show_moves,
    show_nodes,
    show_pools,
    show_shards,
    show_stats,
    show_version,
    show_workers,
)
from shardrouter.proxy.admin.command import AdminContext, Answer, Command
from shardrouter.proxy.admin.words import statements

_ALL: Final = tuple(
    module.COMMAND
    for module in (
        show_shards,
        show_moves,
        show_nodes,
        show_pools,
        show_clients,
        show_backends,
        show_stats,
        show_leases,
        show_workers,
        show_config,
        show_version,
        pause,
        resume,
        reload,
        drain,
        kill,
    )
)
COMMANDS: Final = (*_ALL, show_help.help_on(_ALL))
_BY_WORDS: Final = {command.words: command for command in COMMANDS}


@dataclass(frozen=True, slots=True)
class Call:
    """A command with its argument."""

    command: Command
    argument: str = ""

    async def run(self, context: AdminContext) -> Answer:
        """Carry it out. Raises AdminDenied, whatever the command, for who is no admin user."""
        if not context.is_admin:
            raise AdminDenied(
                f"user {context.user!r} may not use the admin database",
                hint="name the user in proxy.admin_users",
            )
        return await self.command.run(context, self.argument)


def calls_in(text: str) -> list[Call]:
    """Return the commands a text names, in order. Raises AdminSyntaxError."""
    return [call_of(words) for words in statements(text)]


def call_of(words: Sequence[str]) -> Call:
    """Return the command of one statement. Raises AdminSyntaxError."""
    upper = [word.upper() for word in words]
    if upper == ["SHOW"]:
        return Call(_BY_WORDS["SHOW HELP"])
    count = 2 if upper[0] == "SHOW" else 1
    command = _BY_WORDS.get(" ".join(upper[:count]))
    if command is None:
        raise _unknown(" ".join(words[:count]))
    arguments = words[count:]
    wants, optional = bool(command.argument), command.argument.startswith("[")
    if len(arguments) > wants or (wants and not optional and not arguments):
        raise AdminSyntaxError(f"wrong arguments of {command.words}", hint=f"write {command.usage}")
    return Call(command, *arguments)


def _unknown(words: str) -> AdminSyntaxError:
    shows = ", ".join(c.words.partition(" ")[2] for c in COMMANDS if c.tag == "SHOW")
    others = ", ".join(c.words for c in COMMANDS if c.tag != "SHOW")
    return AdminSyntaxError(
        f"{words!r} is not a command of the admin database",
        hint=f"commands are SHOW {shows}; {others}",
    )
