"""Publication, replication slot, subscription and markers, on real servers."""

import threading
import time
from contextlib import closing
from datetime import datetime
from time import sleep
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection

from shardrouter.errors import LockTimeout, MoveError, MoveTakenOver
from shardrouter.postgres import moving
from shardrouter.topology import Slot, Table
from shardrouter.topology.move import Direction
from tests.support.eventually import eventually
from tests.support.moving_shards import (
    ATTEMPT,
    FLEET,
    MOVE,
    NAME,
    ORDERS,
    OURS,
    SLOT_COUNT,
    SLOTS,
    STREAM,
    TABLES,
    MovingShards,
    open_transaction,
    run,
)

OTHERS = tuple(Slot(i) for i in range(SLOT_COUNT) if Slot(i) not in SLOTS)


def test_rows_of_the_slots_are_copied_and_follow(shards: MovingShards) -> None:
    shards.fill()
    shards.subscribe()
    shards.wait_copied()
    run(shards.source_dsn, "UPDATE orders SET note = 'changed' WHERE id % 3 = 0")
    run(shards.source_dsn, "DELETE FROM parted WHERE id % 5 = 0")
    run(shards.source_dsn, "INSERT INTO parted SELECT i, 'new' FROM generate_series(5000, 5100) i")
    shards.wait_streamed()
    for table in TABLES:
        assert shards.rows(shards.target_dsn, table) == shards.rows(shards.source_dsn, table) > 0
        assert shards.rows(shards.target_dsn, table, OTHERS) == 0
        assert digest(shards, table)


def digest(shards: MovingShards, table: Table) -> bool:
    with shards.source.begin() as a, shards.target.begin() as b:
        of = (table, SLOTS, SLOT_COUNT, None)
        return moving.digest_range(a, *of, None).matches(moving.digest_range(b, *of, None))


def test_making_again_is_success(shards: MovingShards) -> None:
    first = shards.subscribe(copy_data=False)
    assert shards.subscribe(copy_data=False) == first


def test_dropping_again_is_success(shards: MovingShards) -> None:
    shards.subscribe()
    for _ in range(2):
        with shards.target.begin() as c:
            moving.drop_subscription(c, NAME)
        with shards.source.connect() as c:
            moving.drop_slot(c, NAME, **OURS, sleep=sleep)
        with shards.source.begin() as c:
            moving.drop_publication(c, NAME)
    with shards.source.begin() as c:
        assert not moving.slot_state(c, NAME).exists
    with shards.target.begin() as c:
        assert moving.subscription_state(c, NAME) is None


def test_a_publication_is_emptied_before_it_is_dropped(shards: MovingShards) -> None:
    shards.subscribe(copy_data=False)
    with closing(psycopg.connect(shards.source_dsn, autocommit=True)) as other:
        other.pgconn.send_query(b"SELECT pg_sleep(60)")
        with shards.source.connect() as c:
            with c.begin():
                assert moving.empty_publication(c, NAME)
            with c.begin():
                now = moving.server_time(c)
            with c.begin():
                assert not moving.empty_publication(c, NAME)
                assert moving.statements_since_before(c, now) == 1
            other.cancel_safe()
            eventually(lambda: _older(c, now) == 0)
            with c.begin():
                moving.drop_publication(c, NAME)


def _older(connection: Connection, time: datetime) -> int:
    with connection.begin():
        return moving.statements_since_before(connection, time)


@pytest.mark.slow
def test_no_statement_fails_while_publications_come_and_go(shards: MovingShards) -> None:
    """One that writes looks a publication up by what it found a moment before: see ``moving``."""
    ends_at = time.monotonic() + 20.0
    errors: list[psycopg.Error] = []

    def write(user: int) -> None:
        with psycopg.connect(shards.source_dsn, autocommit=True) as c:
            while time.monotonic() < ends_at:
                try:
                    c.execute("UPDATE orders SET note = note WHERE user_id = %s", (user,))
                except psycopg.Error as error:
                    errors.append(error)

    shards.fill()
    writers = [threading.Thread(target=write, args=(user,)) for user in range(6)]
    for writer in writers:
        writer.start()
    with shards.source.connect() as c:
        while time.monotonic() < ends_at:
            with c.begin():
                moving.create_publication(c, NAME, TABLES, SLOTS, SLOT_COUNT, **STREAM)
            with c.begin():
                moving.empty_publication(c, NAME)
            with c.begin():
                now = moving.server_time(c)
            eventually(lambda: _older(c, now) == 0)  # noqa: B023
            with c.begin():
                moving.drop_publication(c, NAME)
    for writer in writers:
        writer.join()
    assert not errors


def test_a_stream_in_use_is_ended(shards: MovingShards) -> None:
    """As when the target's server is gone, and its walsender has not noticed."""
    shards.subscribe(copy_data=False)
    shards.wait_streamed()
    with shards.target.connect() as c:
        moving.disable_subscription(c, NAME, **OURS, sleep=sleep)
    dsn = shards.source_dsn
    with closing(psycopg.connect(dsn, autocommit=True, replication="database")) as held:
        start = f"START_REPLICATION SLOT {NAME} LOGICAL 0/0 (proto_version '1',"
        held.pgconn.send_query(f"{start} publication_names '{NAME}')".encode())
        with shards.source.connect() as c:
            eventually(lambda: _slot(c).active)
            moving.drop_slot(c, NAME, **OURS, sleep=sleep)
            assert not _slot(c).exists


def test_disabling_waits_for_the_worker(shards: MovingShards) -> None:
    shards.subscribe(copy_data=False)
    shards.wait_streamed()
    with shards.target.connect() as c:
        moving.disable_subscription(c, NAME, **OURS, sleep=sleep)
        state = shards.state(c)
        assert (state.enabled, state.worker_pid) == (False, None)
        with c.begin():
            moving.enable_subscription(c, NAME)
    shards.wait_streamed()


def test_a_worker_that_waits_for_a_lock_is_ended(shards: MovingShards) -> None:
    shards.subscribe(copy_data=False)
    shards.wait_streamed()
    with open_transaction(shards.target_dsn, "LOCK orders") as holder:
        run(shards.source_dsn, "INSERT INTO orders (user_id) SELECT generate_series(1, 100)")
        pid = "SELECT pid FROM pg_locks WHERE relation = 'orders'::regclass AND NOT granted"
        eventually(lambda: holder.execute(pid.encode()).fetchone())
        with shards.target.connect() as c:
            moving.disable_subscription(c, NAME, **OURS, sleep=sleep, wait_seconds=2)
            assert shards.state(c).worker_pid is None
            with c.begin():
                moving.enable_subscription(c, NAME)
    shards.wait_streamed()
    assert shards.rows(shards.target_dsn, ORDERS) == shards.rows(shards.source_dsn, ORDERS) > 0


def test_a_slot_names_the_transactions_it_waits_for(shards: MovingShards) -> None:
    write = "INSERT INTO parted VALUES (1, 'x')"
    with open_transaction(shards.source_dsn, write) as holder:
        with shards.source.connect() as c, pytest.raises(LockTimeout) as caught:
            moving.create_slot(c, NAME, **OURS, wait_seconds=0.3)
        assert f"pid {holder.info.backend_pid}" in str(caught.value)
    with open_transaction(shards.source_dsn, write, "PREPARE TRANSACTION 'tests waits'"):
        with shards.source.connect() as c, pytest.raises(LockTimeout, match="'tests waits'"):
            moving.create_slot(c, NAME, **OURS, wait_seconds=0.3)
        run(shards.source_dsn, "ROLLBACK PREPARED 'tests waits'")
    with shards.source.connect() as c:
        made = moving.create_slot(c, NAME, **OURS, wait_seconds=10)
        assert made == moving.create_slot(c, NAME, **OURS) > 0


def test_an_advanced_slot_brings_nothing_from_before(shards: MovingShards) -> None:
    shards.subscribe(copy_data=False, enabled=False)
    insert = "INSERT INTO orders (user_id, note) SELECT generate_series(1, 100)"
    run(shards.source_dsn, f"SET synchronous_commit = off; {insert}, 'before'")
    with shards.source.connect() as c:
        before = _slot(c)
        moving.advance_slot(c, NAME, **OURS)
        moving.advance_slot(c, NAME, **OURS)
        assert (_slot(c).confirmed_flush or 0) > (before.confirmed_flush or 0)
    run(shards.source_dsn, f"{insert}, 'after'")
    with shards.target.begin() as c:
        moving.enable_subscription(c, NAME)
    shards.wait_streamed()
    assert run(shards.target_dsn, "SELECT DISTINCT note FROM orders") == [("after",)]


def test_a_lost_slot_is_not_advanced(shards: MovingShards) -> None:
    with shards.source.connect() as c, pytest.raises(MoveError, match="is gone"):
        moving.advance_slot(c, NAME, **OURS)


def test_the_state_of_a_slot(shards: MovingShards) -> None:
    shards.publish()
    with shards.source.connect() as c:
        moving.create_slot(c, NAME, **OURS)
        state = _slot(c)
    assert (state.exists, state.active, state.wal_status) == (True, False, "reserved")
    assert state.invalidation is None and state.retained_bytes >= state.lag_bytes >= 0
    version = run(shards.source_dsn, "SELECT current_setting('server_version_num')::int")
    assert state.failover == (version[0][0] >= 170000)


def test_an_error_disables_the_subscription(shards: MovingShards) -> None:
    run(shards.target_dsn, "INSERT INTO parted SELECT i, 'mine' FROM generate_series(1, 100) i")
    shards.subscribe(copy_data=False)
    shards.wait_streamed()
    run(shards.source_dsn, "INSERT INTO parted SELECT i, 'clash' FROM generate_series(1, 100) i")
    with shards.target.connect() as c:
        eventually(lambda: not shards.state(c).enabled)
        eventually(lambda: shards.state(c).apply_errors)


def test_a_stream_that_was_cut_goes_on_once_enabled(shards: MovingShards) -> None:
    """An error of the connection may count as one of applying: enabling it again goes on."""
    shards.subscribe(copy_data=False)
    shards.wait_streamed()
    ended = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
    with shards.source.begin() as c, shards.target.connect() as d:
        c.exec_driver_sql(f"{ended} WHERE slot_name = '{NAME}'")
        old = shards.state(d).worker_pid

        def is_over() -> bool:
            state = shards.state(d)
            return not state.enabled or state.worker_pid not in (None, old)

        eventually(is_over)
        with d.begin():
            moving.enable_subscription(d, NAME)
    run(shards.source_dsn, "INSERT INTO orders (user_id) SELECT generate_series(1, 99)")
    shards.wait_streamed()


def test_the_reverse_stream_brings_back_only_what_is_new(shards: MovingShards) -> None:
    """The cutover: made while the forward stream runs, advanced and enabled once that stands."""
    back = moving.artefact_name(FLEET, MOVE, ATTEMPT, Direction.BACK)
    of_back = {**STREAM, "direction": Direction.BACK}
    shards.fill()
    shards.subscribe()
    shards.wait_copied()
    with shards.target.begin() as c:
        moving.create_publication(c, back, TABLES, SLOTS, SLOT_COUNT, **of_back)
    with shards.source.connect() as a, shards.target.connect() as b:
        moving.create_slot(b, back, **OURS)
        with a.begin():
            moving.create_subscription(
                a, back, shards.target_dsn, back, back, copy_data=False, enabled=False
            )
        run(shards.source_dsn, "INSERT INTO orders (user_id) SELECT generate_series(1, 99)")
        shards.wait_streamed()
        moving.advance_slot(b, back, **OURS)
        moving.disable_subscription(b, NAME, **OURS, sleep=sleep)
        with a.begin():
            moving.enable_subscription(a, back)
        run(shards.target_dsn, "UPDATE orders SET note = 'new home'")
        with b.begin():
            number = moving.write_marker(b, MOVE, ATTEMPT, Direction.BACK)
        eventually(lambda: _has_back(a, number))
        with a.begin():
            state = moving.subscription_state(a, back)
            assert state is not None and (state.enabled, state.apply_errors) == (True, 0)
            moving.drop_subscription(a, back)
    assert digest(shards, ORDERS)


def _has_back(connection: Connection, number: int) -> bool:
    with connection.begin():
        return moving.has_marker(connection, MOVE, ATTEMPT, Direction.BACK, number)


def test_a_publisher_that_is_gone_does_not_hold_a_drop_up(shards: MovingShards) -> None:
    shards.subscribe(copy_data=False)
    run(shards.target_dsn, f"ALTER SUBSCRIPTION {NAME} CONNECTION 'host=127.0.0.1 port=1'")
    with shards.target.begin() as c:
        moving.drop_subscription(c, NAME)
        assert moving.subscription_state(c, NAME) is None


def test_slots_of_first_copies_are_dropped_by_their_exact_name(shards: MovingShards) -> None:
    shards.fill()
    # The first copy waits for the end of the transaction that has the same primary keys.
    with open_transaction(shards.target_dsn, "INSERT INTO parted SELECT generate_series(1, 2000)"):
        oid = shards.subscribe()
        [(relation,)] = run(shards.target_dsn, "SELECT 'parted'::regclass::oid")
        found = (
            "SELECT count(*) FROM pg_replication_slots"
            f" WHERE slot_name LIKE 'pg_{oid}_sync_{relation}_%'"
        )
        eventually(lambda: run(shards.source_dsn, found) == [(1,)])
        with shards.target.connect() as c:
            with c.begin():
                facts = moving.shard_facts(c)
            moving.disable_subscription(c, NAME, **OURS, sleep=sleep)
            run(shards.target_dsn, f"ALTER SUBSCRIPTION {NAME} CONNECTION 'host=127.0.0.1 port=1'")
            with c.begin():
                moving.drop_subscription(c, NAME)
    with shards.source.begin() as c:
        assert moving.drop_sync_slots(c, oid, facts.system_id + "0") == 0
        assert moving.drop_sync_slots(c, oid + 1, facts.system_id) == 0
        assert moving.drop_sync_slots(c, oid, facts.system_id) >= 1
        assert moving.drop_sync_slots(c, oid, facts.system_id) == 0
    assert run(shards.source_dsn, found) == [(0,)]


def test_markers_of_other_streams_stay_at_home(shards: MovingShards) -> None:
    shards.subscribe(copy_data=False)
    with shards.source.begin() as c:
        moving.write_marker(c, MOVE + 1, ATTEMPT, Direction.FORWARD)
        moving.write_marker(c, MOVE, ATTEMPT + 1, Direction.FORWARD)
        moving.write_marker(c, MOVE, ATTEMPT, Direction.BACK)
    shards.wait_streamed()
    count = "SELECT count(*) FROM shardrouter.move_marker"
    assert run(shards.target_dsn, count) == [(1,)]


def test_a_marker_without_its_transaction_is_not_there(shards: MovingShards) -> None:
    with shards.source.begin() as c:
        number = moving.write_marker(c, MOVE, ATTEMPT, Direction.FORWARD)
        assert moving.has_marker(c, MOVE, ATTEMPT, Direction.FORWARD, number)
        assert not moving.has_marker(c, MOVE, ATTEMPT, Direction.BACK, number)
        c.rollback()
    with shards.source.begin() as c:
        assert not moving.has_marker(c, MOVE, ATTEMPT, Direction.FORWARD, number)


def test_old_markers_are_forgotten(shards: MovingShards) -> None:
    with shards.source.connect() as c:
        for _ in range(100):
            with c.begin():
                last = moving.write_marker(c, MOVE, ATTEMPT, Direction.FORWARD)
        assert moving.has_marker(c, MOVE, ATTEMPT, Direction.FORWARD, last)
    [(kept,)] = run(shards.source_dsn, "SELECT count(*) FROM shardrouter.move_marker")
    assert kept < 50


def test_a_step_of_a_replaced_mover_does_nothing(shards: MovingShards) -> None:
    old: dict[str, Any] = {"move": MOVE, "token": 2}
    with shards.source.connect() as c:
        for act in (
            lambda: moving.create_slot(c, NAME, **old),
            lambda: moving.drop_slot(c, NAME, **old, sleep=sleep),
            lambda: moving.advance_slot(c, NAME, **old),
            lambda: moving.disable_subscription(c, NAME, **old, sleep=sleep),
        ):
            with pytest.raises(MoveTakenOver):
                act()
            c.rollback()
        assert not _slot(c).exists


def _slot(connection: Connection) -> moving.SlotState:
    with connection.begin():
        return moving.slot_state(connection, NAME)
