"""Open transactions that replication slots have to wait for."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from shardrouter.postgres.verbatim import run_verbatim


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """A transaction that holds a transaction id, in any database of the server."""

    who: str
    """A pid with its application, or a prepared transaction's name; for people."""

    database: str
    seconds: float
    is_prepared: bool

    def __str__(self) -> str:
        return f"{self.who} in database {self.database}, open for {self.seconds:.0f} s"


def open_transactions(connection: Connection) -> tuple[OpenTransaction, ...]:
    """Return them, ours left out, the oldest first, ten at most."""
    return to_transactions(run_verbatim(connection, OPEN_TRANSACTIONS_SQL))


def to_transactions(rows: Iterable[Any]) -> tuple[OpenTransaction, ...]:
    """Read rows of OPEN_TRANSACTIONS_SQL."""
    return tuple(OpenTransaction(*row) for row in rows)


OPEN_TRANSACTIONS_SQL: Final = """
SELECT format('pid %s (%s, %s)', pid, coalesce(nullif(application_name, ''), 'unnamed'),
              coalesce(state, backend_type)), coalesce(datname::text, ''),
       coalesce(extract(epoch FROM now() - xact_start), 0)::float8 AS seconds, false
  FROM pg_catalog.pg_stat_activity
 WHERE backend_xid IS NOT NULL AND pid <> pg_catalog.pg_backend_pid()
UNION ALL
SELECT format('the prepared transaction %L', gid), database::text,
       extract(epoch FROM now() - prepared)::float8, true
  FROM pg_catalog.pg_prepared_xacts
 ORDER BY seconds DESC
 LIMIT 10
"""
