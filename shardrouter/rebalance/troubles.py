"""What can go wrong in a step, and what follows from it. Pure.

A step raises one of these, or an error of ours or of Postgres; ``kind_of`` says what the mover
does about it. Nothing is tried again without being shown, and nothing for ever.
"""

from enum import StrEnum
from typing import Any, Final

import psycopg
from sqlalchemy import exc

from shardrouter.errors import (
    BackendLost,
    BackendUnreachable,
    CatalogUnavailable,
    CommitInDoubt,
    LockTimeout,
    MoveError,
    MoveTakenOver,
    NoPrimary,
    ShardRouterError,
    StaleEpoch,
)

TROUBLE: Final = (ShardRouterError, exc.DBAPIError, psycopg.Error)
"""Errors that a step may end with; others are bugs."""


class Trouble(StrEnum):
    """What the mover does about an error."""

    PASSING = "passing"
    """Try again after a pause; a cutover is put off."""

    NEW_ATTEMPT = "new attempt"
    """What was copied cannot be continued: drop it and copy again."""

    GIVE_UP = "give up"
    """Going on would fill a disk: abort the move."""

    ATTENTION = "attention"
    """Only an operator can mend it."""

    TAKEN_OVER = "taken over"
    """Another process carries the move out: leave it alone."""


class PutOff(MoveError):
    """The cutover was put off."""


class StreamLost(MoveError):
    """The stream of changes broke for good."""


class LimitReached(MoveError):
    """The move reached a limit of WAL or disk."""


class NeedsOperator(MoveError):
    """The move waits for an operator."""


_PASSING: Final = (
    BackendUnreachable,
    BackendLost,
    CatalogUnavailable,
    CommitInDoubt,
    LockTimeout,
    NoPrimary,
    PutOff,
    StaleEpoch,
)

_PASSING_STATES: Final = frozenset(
    {
        "40001",  # serialization failure
        "40P01",  # deadlock
        "53000",  # insufficient resources
        "53100",  # disk full
        "53200",  # out of memory
        "53300",  # too many connections
        "53400",  # configured limit, such as free replication slots
        "55006",  # object in use: a walsender that has not ended yet
        "55P03",  # lock not available
        "57014",  # statement timeout
        "57P01",  # admin shutdown
        "57P02",  # crash shutdown
        "57P03",  # cannot connect now
        "25006",  # read-only: the primary has just been demoted
    }
)


def kind_of(error: BaseException) -> Trouble:
    """Return what follows from an error."""
    match error:
        case MoveTakenOver():
            return Trouble.TAKEN_OVER
        case StreamLost():
            return Trouble.NEW_ATTEMPT
        case LimitReached():
            return Trouble.GIVE_UP
        case exc.DBAPIError() | psycopg.Error():
            return Trouble.PASSING if _is_passing(error) else Trouble.ATTENTION
    return Trouble.PASSING if isinstance(error, _PASSING) else Trouble.ATTENTION


def said_of(error: BaseException) -> str:
    """Return one text for people: the message, what the server adds, and the next step."""
    if isinstance(error, ShardRouterError):
        where = f" [{error.shard}]" if error.shard and error.shard not in error.message else ""
        hint = f" ({error.hint})" if error.hint else ""
        return f"{error.message}{where}{hint}"
    cause: Any = getattr(error, "orig", None) or error
    first = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
    detail = getattr(getattr(cause, "diag", None), "message_detail", None)
    return f"{first} ({detail})" if detail else first


def _is_passing(error: BaseException) -> bool:
    cause: Any = getattr(error, "orig", None) or error
    state = getattr(cause, "sqlstate", None)
    if state is None:  # the connection broke, or no answer came in time
        return isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError)
    return state in _PASSING_STATES or state.startswith("08")
