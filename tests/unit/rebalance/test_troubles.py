"""Which errors pass by themselves, which need a new copy, which need a person."""

import psycopg
import pytest
from sqlalchemy import exc

from shardrouter.errors import (
    BackendUnreachable,
    CatalogUnavailable,
    LockTimeout,
    MoveMismatch,
    MoveRefused,
    MoveTakenOver,
    StaleEpoch,
)
from shardrouter.rebalance.troubles import (
    LimitReached,
    NeedsOperator,
    PutOff,
    StreamLost,
    Trouble,
    kind_of,
    said_of,
)


def of_postgres(error: psycopg.Error) -> exc.DBAPIError:
    return exc.DBAPIError("SELECT", None, error)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BackendUnreachable(), Trouble.PASSING),
        (CatalogUnavailable(), Trouble.PASSING),
        (LockTimeout(), Trouble.PASSING),
        (StaleEpoch(), Trouble.PASSING),
        (PutOff(), Trouble.PASSING),
        (StreamLost(), Trouble.NEW_ATTEMPT),
        (LimitReached(), Trouble.GIVE_UP),
        (NeedsOperator(), Trouble.ATTENTION),
        (MoveMismatch(), Trouble.ATTENTION),
        (MoveRefused(), Trouble.ATTENTION),
        (MoveTakenOver(), Trouble.TAKEN_OVER),
        (of_postgres(psycopg.OperationalError("no answer")), Trouble.PASSING),
        (of_postgres(psycopg.errors.DiskFull("full")), Trouble.PASSING),
        (of_postgres(psycopg.errors.LockNotAvailable("busy")), Trouble.PASSING),
        (of_postgres(psycopg.errors.InsufficientPrivilege("no")), Trouble.ATTENTION),
        (of_postgres(psycopg.errors.UniqueViolation("twice")), Trouble.ATTENTION),
        (psycopg.errors.AdminShutdown("bye"), Trouble.PASSING),
        (psycopg.errors.UndefinedTable("none"), Trouble.ATTENTION),
    ],
)
def test_kinds(error: Exception, kind: Trouble):
    assert kind_of(error) is kind


def test_what_is_said_names_the_shard_and_the_next_step():
    error = LockTimeout("it stayed locked", shard="s0", hint="end it")
    assert said_of(error) == "it stayed locked [s0] (end it)"
    assert said_of(of_postgres(psycopg.errors.UniqueViolation("twice\nmore"))) == "twice"
