"""Errors of the driver become ours, with the shard in them."""

import psycopg
import pytest

from shardrouter.errors import BackendLost, LockTimeout, MoveError, MoveRefused, SlotNotOwned
from shardrouter.postgres.moving import on_shard
from shardrouter.topology import ShardId

S1 = ShardId("s1")


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (psycopg.errors.LockNotAvailable("busy"), LockTimeout),
        (psycopg.errors.QueryCanceled("slow"), LockTimeout),
        (psycopg.errors.AdminShutdown("going"), BackendLost),
        (psycopg.OperationalError("connection is closed"), BackendLost),
        (psycopg.errors.InsufficientPrivilege("no"), MoveRefused),
        (psycopg.errors.ConfigurationLimitExceeded("all slots in use"), MoveError),
        (psycopg.errors.DiskFull("full"), MoveError),
        (psycopg.errors.UniqueViolation("twice"), MoveError),
    ],
)
def test_each_kind(error, ours):
    with pytest.raises(ours) as caught, on_shard(S1):
        raise error
    assert type(caught.value) is ours
    assert caught.value.shard == S1
    assert caught.value.hint


@pytest.mark.parametrize(
    "error", [psycopg.errors.UndefinedTable("x"), psycopg.ProgrammingError("x"), ValueError("x")]
)
def test_bugs_pass(error):
    with pytest.raises(type(error)), on_shard(S1):
        raise error


def test_a_shard_that_was_named_stays():
    with pytest.raises(SlotNotOwned) as caught, on_shard(S1):
        raise SlotNotOwned("x", shard="s0")
    assert caught.value.shard == "s0"
