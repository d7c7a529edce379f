"""Subscriptions of a move, on the shard that the stream goes to."""

from dataclasses import dataclass
from typing import Final

from psycopg import sql
from psycopg.conninfo import make_conninfo
from sqlalchemy import Connection, text

from shardrouter.errors import MoveError
from shardrouter.postgres.locks import Sleep
from shardrouter.postgres.moving.limits import limit_waits
from shardrouter.postgres.moving.token import check_token
from shardrouter.postgres.verbatim import run_verbatim

READY: Final = "r"
_ORIGIN_SINCE: Final = (
    160000  # server_version_num: changes that came by replication can be left out
)
_STREAMING: Final = "on"  # a large transaction is kept on the target's disk until it commits
_CREATE_SECONDS: Final = 30.0
_ALTER_LOCK_SECONDS: Final = 5.0
_DROP_SECONDS: Final = 30.0
_WORKER_POLL_SECONDS: Final = 0.005  # writers may be waiting for the answer
_PUBLISHER: Final = {
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "5",
}


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """What a server says of one of its subscriptions."""

    id: int
    """The OID; names the slots of first copies, see ``drop_sync_slots``."""

    enabled: bool
    """False also after an error: subscriptions of moves disable themselves then."""

    tables: tuple[tuple[str, str], ...]
    """``schema.table`` and its ``srsubstate``: i not begun, d copying, f copied, s, r ready."""

    worker_pid: int | None
    """The apply worker; None while none runs."""

    received_lsn: int | None
    """How far the apply worker has got since it started; unknown when None."""

    apply_errors: int
    sync_errors: int
    """Counted since the subscription was made. The words are in the server's log only."""

    @property
    def is_copied(self) -> bool:
        """True when the first copy of every table is over and its stream runs with the others."""
        return all(state == READY for _, state in self.tables)


def create_subscription(
    connection: Connection,
    name: str,
    dsn: str,
    publication: str,
    slot_name: str,
    *,
    copy_data: bool,
    enabled: bool = True,
    binary: bool = False,
    synchronous_commit: str = "off",
) -> int:
    """Make the subscription, or find it made, in the caller's transaction; return its OID.

    dsn: of the publisher's primary, as the server of ``connection`` reaches it. ``binary`` only
    for tables of ``has_portable_types``. ``synchronous_commit="on"`` where the target has
    synchronous standbys. It disables itself at the first error: an endless retry would hide it.
    """
    standing = connection.execute(_FIND, {"name": name}).one_or_none()
    if standing is not None:
        return int(standing.oid)
    limit_waits(connection, lock_seconds=_ALTER_LOCK_SECONDS, seconds=_CREATE_SECONDS)
    statement = subscription_sql(
        name,
        dsn,
        publication,
        slot_name,
        copy_data=copy_data,
        enabled=enabled,
        binary=binary,
        synchronous_commit=synchronous_commit,
        knows_origins=connection.execute(_VERSION).scalar_one() >= _ORIGIN_SINCE,
    )
    run_verbatim(connection, statement)
    return int(connection.execute(_FIND, {"name": name}).one().oid)


def subscription_sql(
    name: str,
    dsn: str,
    publication: str,
    slot_name: str,
    *,
    copy_data: bool,
    enabled: bool,
    binary: bool = False,
    synchronous_commit: str = "off",
    knows_origins: bool = True,
) -> str:
    """Return the statement that makes the subscription. Parameters as ``create_subscription``."""
    options = {
        "create_slot": "false",
        "slot_name": f"'{slot_name}'",
        "copy_data": str(copy_data).lower(),
        "enabled": str(enabled).lower(),
        "binary": str(binary).lower(),
        "streaming": _STREAMING,
        "synchronous_commit": f"'{synchronous_commit}'",
        "disable_on_error": "true",
    }
    if knows_origins:
        options["origin"] = "none"
    statement = sql.SQL("CREATE SUBSCRIPTION {} CONNECTION {} PUBLICATION {} WITH ({})").format(
        sql.Identifier(name),
        sql.Literal(make_conninfo(dsn, **_PUBLISHER, fallback_application_name=name)),
        sql.Identifier(publication),
        sql.SQL(", ".join(f"{option} = {value}" for option, value in options.items())),
    )
    return statement.as_string(None)


def enable_subscription(connection: Connection, name: str) -> None:
    """Let the stream run, in the caller's transaction; no effect when it does."""
    limit_waits(connection, lock_seconds=_ALTER_LOCK_SECONDS)
    run_verbatim(connection, f"ALTER SUBSCRIPTION {_quoted(name)} ENABLE")


def disable_subscription(
    connection: Connection,
    name: str,
    *,
    move: int,
    token: int,
    sleep: Sleep,
    wait_seconds: float = 5.0,
) -> None:
    """Stop the stream and wait until its workers have ended; no effect when it is gone.

    A worker that waits for a lock does not hear of it: half-way it is terminated, which is safe,
    for what it had not committed is sent again. Runs transactions of its own. Raises
    MoveTakenOver; MoveError when a worker does not end within ``wait_seconds``.
    """
    with connection.begin():
        check_token(connection, move, token)
        if connection.execute(_FIND, {"name": name}).one_or_none() is None:
            return
        limit_waits(connection, lock_seconds=_ALTER_LOCK_SECONDS)
        run_verbatim(connection, f"ALTER SUBSCRIPTION {_quoted(name)} DISABLE")
    if _have_ended(connection, name, sleep, wait_seconds / 2):
        return
    with connection.begin():
        connection.execute(_END_WORKERS, {"name": name})
    if _have_ended(connection, name, sleep, wait_seconds / 2):
        return
    raise MoveError(
        f"workers of subscription {name} did not end within {wait_seconds:g} s",
        hint="look for their pids of pg_stat_subscription in pg_stat_activity",
    )


def drop_subscription(connection: Connection, name: str) -> None:
    """Drop the subscription with its workers, in the caller's transaction; nothing when gone.

    Its replication slot stays (``drop_slot``); the publisher need not answer: then slots of first
    copies that were under way stay too (``drop_sync_slots``).
    """
    if connection.execute(_FIND, {"name": name}).one_or_none() is None:
        return
    limit_waits(connection, seconds=_DROP_SECONDS)
    for statement in (
        f"ALTER SUBSCRIPTION {_quoted(name)} DISABLE",
        f"ALTER SUBSCRIPTION {_quoted(name)} SET (slot_name = NONE)",
        f"DROP SUBSCRIPTION {_quoted(name)}",
    ):
        run_verbatim(connection, statement)


def subscription_state(connection: Connection, name: str) -> SubscriptionState | None:
    """Return what the server says of the subscription, or None when there is none."""
    row = connection.execute(_STATE, {"name": name}).one_or_none()
    if row is None:
        return None
    tables = connection.execute(_TABLES, {"oid": row.oid}).all()
    return SubscriptionState(
        id=row.oid,
        enabled=row.subenabled,
        tables=tuple((table.name, table.state) for table in tables),
        worker_pid=row.pid,
        received_lsn=None if row.received is None else int(row.received),
        apply_errors=row.apply_errors,
        sync_errors=row.sync_errors,
    )


def _have_ended(connection: Connection, name: str, sleep: Sleep, wait_seconds: float) -> bool:
    # Each sleep lasts at least so long: the bound is on what we waited, not on the wall clock.
    for _ in range(max(1, round(wait_seconds / _WORKER_POLL_SECONDS))):
        with connection.begin():
            if connection.execute(_WORKERS, {"name": name}).scalar_one() == 0:
                return True
        sleep(_WORKER_POLL_SECONDS)
    return False


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string(None)


_VERSION: Final = text("SELECT current_setting('server_version_num')::int")
_OURS: Final = (
    "s.subname = :name AND s.subdbid = (SELECT oid FROM pg_catalog.pg_database"
    " WHERE datname = pg_catalog.current_database())"
)
_FIND: Final = text(f"SELECT s.oid FROM pg_catalog.pg_subscription s WHERE {_OURS}")
_WORKERS: Final = text(
    "SELECT count(w.pid) FROM pg_catalog.pg_subscription s"
    f"  JOIN pg_catalog.pg_stat_subscription w ON w.subid = s.oid WHERE {_OURS}"
)
_END_WORKERS: Final = text(
    "SELECT pg_catalog.pg_terminate_backend(w.pid) FROM pg_catalog.pg_subscription s"
    "  JOIN pg_catalog.pg_stat_subscription w ON w.subid = s.oid"
    f" WHERE {_OURS} AND w.pid IS NOT NULL"
)
_STATE: Final = text(
    f"""
SELECT s.oid, s.subenabled, w.pid, w.received_lsn - '0/0' AS received,
       coalesce(e.apply_error_count, 0) AS apply_errors,
       coalesce(e.sync_error_count, 0) AS sync_errors
  FROM pg_catalog.pg_subscription s
  LEFT JOIN pg_catalog.pg_stat_subscription w
    ON w.subid = s.oid AND w.relid IS NULL AND w.pid IS NOT NULL
  LEFT JOIN pg_catalog.pg_stat_subscription_stats e ON e.subid = s.oid
 WHERE {_OURS}
"""
)
_TABLES: Final = text(
    """
SELECT n.nspname || '.' || c.relname AS name, r.srsubstate::text AS state
  FROM pg_catalog.pg_subscription_rel r
  JOIN pg_catalog.pg_class c ON c.oid = r.srrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE r.srsubid = :oid
 ORDER BY name
"""
)
