"""``KILL``: disconnect one client."""

from shardrouter.errors import AdminSyntaxError, NoSuchClient
from shardrouter.proxy.admin.command import AdminContext, Answer, Command


async def _run(context: AdminContext, argument: str) -> Answer:
    if not (argument.isascii() and argument.isdigit()):
        raise AdminSyntaxError(
            f"{argument!r} is not the number of a client",
            hint="take it from the column id of SHOW CLIENTS",
        )
    if not any(await context.ask_workers("kill", client_id=int(argument))):
        raise NoSuchClient(
            f"there is no client {argument}", hint="it may have left: see SHOW CLIENTS"
        )
    return Answer()


COMMAND = Command(
    "KILL", "disconnect a client; its transaction is rolled back", _run, argument="client id"
)
