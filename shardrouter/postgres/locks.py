"""Take table locks without holding writers up: wait a little, give way, try again.

A waiting lock request makes every later writer of the table queue behind it. So each attempt waits
a short time only; the time doubles, because an autovacuum gives its lock up only after the
waiter's deadlock_timeout (1 s unless changed).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import Connection, exc, text

from shardrouter.errors import LockTimeout
from shardrouter.topology import Table

T = TypeVar("T")

LOCK_NOT_AVAILABLE: Final = "55P03"
DEADLOCK_DETECTED: Final = "40P01"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for locks."""

    first_ms: int = 200
    """What writers may be held up in the first attempt; doubles with each further one."""

    longest_ms: int = 1600
    """More than deadlock_timeout, so that an autovacuum gives way."""

    pause_seconds: float = 0.1
    """Between two attempts: the writers that queued up behind us go first."""

    attempts: int = 12


PATIENCE: Final = Patience()


class Sleep(Protocol):
    """Lets time pass: ``Runtime.sleep``."""

    def __call__(self, seconds: float, /) -> None: ...


def run_with_locks(
    connection: Connection,
    work: Callable[[], T],
    tables: Sequence[Table],
    *,
    sleep: Sleep,
    patience: Patience = PATIENCE,
) -> T:
    """Run ``work`` in a transaction of its own; repeat it from the start when a lock is not free.

    ``work`` takes the locks it needs, of ``tables``, on the connection, which has no transaction
    open. Raises LockTimeout, naming who holds the tables, when the last attempt fails.
    """
    for attempt in range(patience.attempts):
        wait_ms = min(patience.first_ms << attempt, patience.longest_ms)
        try:
            with connection.begin():
                connection.execute(_LIMIT, {"wait": f"{wait_ms}ms"})
                return work()
        except exc.DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in (LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED):
                raise
        if attempt + 1 < patience.attempts:
            sleep(patience.pause_seconds)
    with connection.begin():
        holders = holders_of(connection, tables)
    raise LockTimeout(
        f"{_names(tables)} stayed locked through {patience.attempts} attempts",
        hint=f"end or wait for {'; '.join(holders) or 'the long transactions on it'}, then repeat",
    )


def holders_of(connection: Connection, tables: Sequence[Table]) -> list[str]:
    """Return, for people, which other transactions hold locks that stop ours."""
    rows = connection.execute(
        _HOLDERS, {"schemas": [t.schema for t in tables], "tables": [t.name for t in tables]}
    )
    return [_holder(row) for row in rows]


def _holder(row: Any) -> str:
    if row.pid is None:
        return f"the prepared transaction {row.gid!r}"
    who = f"pid {row.pid} ({row.application_name or 'unnamed'}"
    return f"{who}, {row.state or 'running'} for {row.seconds:.0f} s)"


def _names(tables: Sequence[Table]) -> str:
    return ", ".join(table.full_name for table in tables)


_LIMIT: Final = text("SELECT pg_catalog.set_config('lock_timeout', :wait, true)")

_HOLDERS: Final = text(
    """
SELECT DISTINCT l.pid, a.application_name, a.state, p.gid,
       coalesce(extract(epoch FROM now() - a.xact_start), 0)::float8 AS seconds
  FROM pg_catalog.pg_locks l
  JOIN pg_catalog.pg_class c ON c.oid = l.relation
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
  LEFT JOIN pg_catalog.pg_locks x ON x.virtualtransaction = l.virtualtransaction
        AND x.locktype = 'transactionid' AND x.pid IS NULL AND l.pid IS NULL
  LEFT JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = x.transactionid
 WHERE l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
   AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
   AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')
   AND (n.nspname, c.relname) IN (SELECT * FROM unnest(:schemas ::text[], :tables ::text[]))
 ORDER BY seconds DESC
 LIMIT 5
"""
)
