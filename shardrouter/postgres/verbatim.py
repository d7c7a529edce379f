"""Run SQL text as it stands: names may hold a percent sign, which the driver would read."""

from typing import Any

from sqlalchemy import Connection, CursorResult


def run_verbatim(connection: Connection, statement: str) -> CursorResult[Any]:
    """Run statements without parameters, several in one message; return the first one's result."""
    return connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
