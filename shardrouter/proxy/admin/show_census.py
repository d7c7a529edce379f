"""Make a SHOW command of rows that every worker has."""

from shardrouter.proxy.admin.command import AdminContext, Answer, Command, in_columns
from shardrouter.proxy.telemetry.census import COLUMNS, merged


def show_of(what: str, summary: str) -> Command:
    """Return ``SHOW WHAT``: asks all workers, merges their rows."""
    columns = COLUMNS[what]

    async def run(context: AdminContext, argument: str) -> Answer:
        answers = await context.ask_workers("show", what=what)
        return in_columns(columns, merged(what, answers))

    return Command(f"SHOW {what.upper()}", summary, run, columns)
