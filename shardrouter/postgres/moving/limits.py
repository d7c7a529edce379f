"""Bounds for what a step may wait for on a shard, and words for what it waited for."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
from sqlalchemy import Connection, exc, text

from shardrouter.errors import (
    BackendLost,
    LockTimeout,
    MoveError,
    MoveRefused,
    ShardRouterError,
)
from shardrouter.postgres.locks import LOCK_NOT_AVAILABLE
from shardrouter.topology import ShardId

QUERY_CANCELED: Final = "57014"
_EXHAUSTED: Final = frozenset({"53100", "53200", "53300", "53400", "54000"})
_CONSTRAINT: Final = "23"  # class of violations: unique, check, not null
_NO_SESSION: Final = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03"})


def limit_waits(
    connection: Connection, *, lock_seconds: float | None = None, seconds: float | None = None
) -> None:
    """Bound, until the transaction ends, waits for locks and (``seconds``) whole statements."""
    for name, bound in (("lock_timeout", lock_seconds), ("statement_timeout", seconds)):
        if bound is not None:
            milliseconds = f"{max(1, math.ceil(bound * 1000))}ms"
            connection.execute(_LIMIT, {"name": name, "value": milliseconds})


def sqlstate_of(error: BaseException) -> str | None:
    """Return the SQLSTATE of an error of the driver or of SQLAlchemy around it."""
    return getattr(getattr(error, "orig", None) or error, "sqlstate", None)


def has_timed_out(error: BaseException) -> bool:
    """True when one of our own bounds ended the statement."""
    return sqlstate_of(error) in (LOCK_NOT_AVAILABLE, QUERY_CANCELED)


@contextmanager
def on_shard(shard: ShardId) -> Iterator[None]:
    """Turn errors of the driver into ours, and name the shard in ours.

    BackendLost: the session is gone. LockTimeout: it waited too long; repeat. MoveRefused: the
    role may not do that. MoveError: the shard cannot; look at it. Others are bugs and pass.
    """
    try:
        yield
    except ShardRouterError as error:
        error.shard = error.shard or shard
        raise
    except (exc.DBAPIError, psycopg.Error) as error:
        ours = _ours(error, shard)
        if ours is None:
            raise
        raise ours from error


def _ours(error: exc.DBAPIError | psycopg.Error, shard: ShardId) -> ShardRouterError | None:
    cause = getattr(error, "orig", None) or error
    said = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
    code = sqlstate_of(error)
    if code is None and not isinstance(cause, psycopg.OperationalError):
        return None  # an error of use, not of the server
    if code is None or code.startswith("08") or code in _NO_SESSION:
        return BackendLost(
            f"the session ended: {said}", shard=shard, hint="it is tried again on a new one"
        )
    if has_timed_out(error):
        return LockTimeout(
            f"a step of the move waited too long: {said}",
            shard=shard,
            hint="see what holds it up with pg_stat_activity and pg_locks; it is tried again",
        )
    if code == "42501":
        return MoveRefused(
            f"the role may not do that: {said}",
            shard=shard,
            hint="grant the rights that docs/how-to/rebalance.md lists",
        )
    diag = getattr(cause, "diag", None)
    if code in _EXHAUSTED:
        hint = getattr(diag, "message_hint", None)
        return MoveError(
            f"the shard has run out: {said}",
            shard=shard,
            hint=hint or "raise the limit, or wait until other moves are over",
        )
    if code.startswith(_CONSTRAINT):
        detail = getattr(diag, "message_detail", None)
        return MoveError(
            f"a row does not fit: {said}" + (f" ({detail})" if detail else ""),
            shard=shard,
            hint="see whose row stands there; rows of slots that the shard does not own are left"
            " over from something else: delete them",
        )
    return None


_LIMIT: Final = text("SELECT pg_catalog.set_config(:name, :value, true)")
