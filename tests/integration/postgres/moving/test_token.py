"""A mover that was replaced can do nothing any more, and cannot hold its successor up."""

import psycopg
import pytest
from sqlalchemy import exc

from shardrouter.errors import MoveTakenOver
from shardrouter.postgres import moving
from tests.support.moving_shards import MOVE, TOKEN, MovingShards, open_transaction, run


def test_a_token_only_rises(shards: MovingShards) -> None:
    with shards.source.connect() as c:
        moving.take_token(c, MOVE, TOKEN)
        moving.take_token(c, MOVE, TOKEN + 2)
        with pytest.raises(MoveTakenOver, match=f"token is {TOKEN + 2}, ours {TOKEN + 1}"):
            moving.take_token(c, MOVE, TOKEN + 1)
        with c.begin():
            moving.check_token(c, MOVE, TOKEN + 2)
            moving.see_token(c, MOVE, TOKEN + 2)
            for ask in (moving.check_token, moving.see_token):
                with pytest.raises(MoveTakenOver):
                    ask(c, MOVE, TOKEN)


def test_a_move_that_is_over_has_no_token(shards: MovingShards) -> None:
    with shards.source.begin() as c:
        moving.drop_token(c, MOVE)
        with pytest.raises(MoveTakenOver, match="is over, or has not begun"):
            moving.check_token(c, MOVE, TOKEN)


def test_a_successor_ends_the_step_of_a_frozen_mover(shards: MovingShards) -> None:
    name = moving.session_name(MOVE, TOKEN)
    held = f"SELECT FROM shardrouter.move WHERE move = {MOVE} FOR SHARE"
    with psycopg.connect(shards.source_dsn, application_name=name) as old:
        old.execute(held.encode())
        with shards.source.connect() as c:
            moving.take_token(c, MOVE, TOKEN + 1)
        with pytest.raises(psycopg.errors.AdminShutdown):
            old.execute("SELECT 1")


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        (f"shardrouter-move-{MOVE}-{TOKEN}", True),
        (f"shardrouter-move-{MOVE}-{TOKEN + 1}", False),
        (f"shardrouter-move-{MOVE}{MOVE}-{TOKEN}", False),
        (f"xshardrouter-move-{MOVE}-{TOKEN}", False),
        (f"shardrouter-move-{MOVE}-{TOKEN}x", False),
        ("shardrouter", False),
    ],
)
def test_only_sessions_of_earlier_movers_are_ended(
    shards: MovingShards, name: str, ends: bool
) -> None:
    with psycopg.connect(shards.source_dsn, application_name=name):
        with shards.source.begin() as c:
            assert moving.end_other_sessions(c, MOVE, TOKEN + 1) == int(ends)


def test_a_session_of_another_database_is_not_ended(shards: MovingShards) -> None:
    name = moving.session_name(MOVE, TOKEN)
    other = f"{shards.source_dsn.rpartition('/')[0]}/postgres"
    with psycopg.connect(other, application_name=name):
        with shards.source.begin() as c:
            assert moving.end_other_sessions(c, MOVE, TOKEN + 1) == 0


def test_a_checked_token_stays(shards: MovingShards) -> None:
    raise_it = f"UPDATE shardrouter.move SET token = {TOKEN + 1} WHERE move = {MOVE}"
    with shards.source.begin() as c:
        moving.check_token(c, MOVE, TOKEN)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            run(shards.source_dsn, f"SET lock_timeout = '100ms'; {raise_it}")
    run(shards.source_dsn, raise_it)


def test_errors_name_the_shard(shards: MovingShards) -> None:
    from shardrouter.errors import BackendLost, LockTimeout, MoveRefused
    from shardrouter.topology import ShardId

    with open_transaction(shards.source_dsn, "LOCK orders"), shards.source.connect() as c:
        with pytest.raises(LockTimeout, match="s0"), moving.on_shard(ShardId("s0")), c.begin():
            moving.limit_waits(c, lock_seconds=0.1)
            c.exec_driver_sql("SELECT * FROM orders")
    with shards.source.connect() as c:
        with pytest.raises(MoveRefused), moving.on_shard(ShardId("s0")), c.begin():
            c.exec_driver_sql("CREATE ROLE tests_nobody")
            c.exec_driver_sql("SET LOCAL ROLE tests_nobody")
            c.exec_driver_sql("SELECT * FROM orders")
    with shards.source.connect() as c:
        with pytest.raises(BackendLost), moving.on_shard(ShardId("s0")), c.begin():
            c.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
    with shards.source.connect() as c:
        with pytest.raises(exc.ProgrammingError), moving.on_shard(ShardId("s0")), c.begin():
            c.exec_driver_sql("SELECT * FROM no_such_table")
    with pytest.raises(MoveTakenOver) as caught, moving.on_shard(ShardId("s0")):
        raise MoveTakenOver
    assert caught.value.shard == "s0"
