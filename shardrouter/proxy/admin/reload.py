"""``RELOAD``: read the settings file, certificates and users again.

The parent validates the whole file and every worker takes it, or all keep what they have.
"""

from typing import Final

from shardrouter.proxy.admin.command import AdminContext, Answer, Command

_COLUMNS: Final = ("key", "before", "after", "effect")


async def _run(context: AdminContext, argument: str) -> Answer:
    done = await context.ask_parent("reload")
    restart = set(done["restart"])
    return Answer(
        [
            (row["key"], row["before"], row["after"], _effect(row["key"] in restart))
            for row in done["changed"]
        ],
        notes=[] if done["changed"] else ["nothing has changed in the settings"],
    )


def _effect(needs_restart: bool) -> str:
    return "after a restart" if needs_restart else "now"


COMMAND = Command(
    "RELOAD", "read settings, certificates and users again; prints what changed", _run, _COLUMNS
)
