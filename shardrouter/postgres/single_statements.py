"""Statements that are transactions of their own: no BEGIN and COMMIT, one round trip each."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection


@contextmanager
def autocommit(connection: Connection) -> Iterator[None]:
    """Let the block's statements run outside a transaction block, as COMMIT PREPARED must.

    Set on the driver's connection and set back: SQLAlchemy's own isolation option would leave
    an explicit isolation level behind.
    """
    raw: Any = connection.connection.dbapi_connection
    raw.autocommit = True
    try:
        yield
    finally:
        if not (connection.invalidated or connection.closed):
            connection.rollback()
            if not raw.closed:
                raw.autocommit = False
