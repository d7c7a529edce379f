"""A first copy rests when it is told to, within the session that copies; nobody else does."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from time import sleep

import psycopg
import pytest

from shardrouter.postgres import moving
from shardrouter.postgres.moving import pace
from tests.support.moving_shards import OURS, SLOT_COUNT, SLOTS, TABLES, MovingShards, run

MOVE = OURS["move"]
REST_SECONDS = 0.4
EVERY_ROW = 1
REFUSED = psycopg.errors.ObjectNotInPrerequisiteState


@pytest.fixture
def paced(shards: MovingShards, monkeypatch: pytest.MonkeyPatch) -> MovingShards:
    """The target's tables, whose every replicated row asks whether to rest."""
    monkeypatch.setattr(pace, "ROWS_BETWEEN", EVERY_ROW)
    lock(shards, MOVE)
    return shards


def lock(shards: MovingShards, move: int) -> None:
    with shards.target.connect() as c:
        moving.take_token(c, move, OURS["token"])
        of = {"move": move, "token": OURS["token"]}
        assert moving.lock_schema(c, TABLES, SLOTS, SLOT_COUNT, **of, sleep=sleep, is_paced=True)


def tell(shards: MovingShards, seconds: float, nap: float = 0.0) -> None:
    with shards.target.connect() as c, c.begin():
        moving.rest(c, MOVE, seconds, nap)


@contextmanager
def writing(shards: MovingShards, *, replicated: bool) -> Iterator[psycopg.Connection]:
    """A session that writes as a subscription's do, or as a client's."""
    role = "replica" if replicated else "origin"
    options = f"-c session_replication_role={role}"
    with psycopg.connect(shards.target_dsn, autocommit=True, options=options) as connection:
        yield connection


def seconds_of(connection: psycopg.Connection, statement: str) -> float:
    began = time.monotonic()
    connection.execute(statement)  # type: ignore[arg-type]
    return time.monotonic() - began


ORDER = "INSERT INTO orders (user_id, id) VALUES (1, {})"
PARTED = "INSERT INTO parted VALUES ({})"


@pytest.mark.parametrize("insert", [ORDER, PARTED], ids=["ordinary", "partitioned"])
def test_replicated_rows_wait_for_the_end_of_the_rest(paced: MovingShards, insert: str) -> None:
    tell(paced, REST_SECONDS)
    with writing(paced, replicated=True) as connection:
        assert seconds_of(connection, insert.format(900001)) > REST_SECONDS / 2
        assert seconds_of(connection, insert.format(900002)) < REST_SECONDS / 2  # it is over


def test_rows_of_clients_do_not(paced: MovingShards) -> None:
    tell(paced, 30.0)
    with writing(paced, replicated=False) as connection:
        assert seconds_of(connection, ORDER.format(900003)) < 10.0


def test_naps_are_taken_at_every_question_for_a_while(
    paced: MovingShards, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody needs to end them: who told may have died."""
    tell(paced, 0.0, REST_SECONDS)
    with writing(paced, replicated=True) as connection:
        for number in (900007, 900008):
            assert seconds_of(connection, ORDER.format(number)) > REST_SECONDS / 2
        monkeypatch.setattr(pace, "HOLDS_SECONDS", 0.0)
        tell(paced, 0.0, 60.0)
        assert seconds_of(connection, ORDER.format(900009)) < 30.0


def test_a_rest_can_be_cut_short(paced: MovingShards) -> None:
    tell(paced, 60.0)
    with writing(paced, replicated=True) as connection:
        threading.Timer(0.2, tell, [paced, 0.0]).start()
        assert 0.1 < seconds_of(connection, ORDER.format(900004)) < 30.0


def test_a_copy_that_rests_can_be_ended(paced: MovingShards) -> None:
    tell(paced, 60.0)
    with writing(paced, replicated=True) as connection:
        threading.Timer(0.2, connection.cancel).start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute(ORDER.format(900005))  # type: ignore[arg-type]


def test_other_moves_are_not_told(paced: MovingShards) -> None:
    """And a second move can be locked beside the first, whose lock refuses everybody's DDL."""
    lock(paced, 8)
    with pytest.raises(REFUSED, match="move 7"):
        run(paced.target_dsn, "ALTER TABLE orders ADD extra int")
    with paced.target.connect() as c, c.begin():
        moving.rest(c, 9, 60.0)
    with writing(paced, replicated=True) as connection:
        assert seconds_of(connection, ORDER.format(900006)) < 10.0


def test_it_goes_with_the_lock(paced: MovingShards) -> None:
    lock(paced, MOVE)  # repeatable
    with paced.target.connect() as c:
        moving.unlock_schema(c, **OURS, sleep=sleep)
        with c.begin():
            moving.rest(c, MOVE, 60.0)
            moving.drop_token(c, MOVE)
    named = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE '%pace'"
    assert run(paced.target_dsn, named) == [(0,)]
    assert run(paced.target_dsn, "SELECT count(*) FROM shardrouter.move_pace") == [(0,)]
