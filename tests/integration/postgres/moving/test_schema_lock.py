"""Moving tables stay as they are: DDL, TRUNCATE and key changes are refused, all else goes on."""

from time import sleep
from typing import Any

import psycopg
import pytest

from shardrouter.errors import LockTimeout
from shardrouter.postgres import Guard, Patience, install_guards, moving
from shardrouter.topology import Epoch, Slot, Topology, key_slot
from tests.support.moving_shards import (
    ORDERS,
    OURS,
    SLOT_COUNT,
    SLOTS,
    TABLES,
    MovingShards,
    open_transaction,
    run,
)

REFUSED = psycopg.errors.ObjectNotInPrerequisiteState
OTHER: dict[str, Any] = {"move": 8, "token": 1}


def lock(shards: MovingShards, slots: tuple[Slot, ...] = SLOTS, **ours: int) -> bool:
    with shards.source.connect() as c:
        of = ours or OURS
        moving.take_token(c, of["move"], of["token"])
        return moving.lock_schema(c, TABLES, slots, SLOT_COUNT, **of, sleep=sleep)


def unlock(shards: MovingShards, **ours: int) -> None:
    with shards.source.connect() as c:
        moving.unlock_schema(c, **(ours or OURS), sleep=sleep)


DDL = [
    "ALTER TABLE orders ADD extra int",
    "ALTER TABLE orders DROP COLUMN note",
    "ALTER TABLE orders RENAME TO orders_2",
    "ALTER TABLE orders RENAME note TO remark",
    "ALTER TABLE orders ALTER note TYPE varchar(9)",
    "ALTER TABLE orders DISABLE TRIGGER ALL",
    "CREATE INDEX ON orders (note)",
    "ALTER INDEX orders_pkey RENAME TO other_pkey",
    "DROP TABLE orders",
    "DROP TABLE parted_1",
    "ALTER TABLE parted DETACH PARTITION parted_1",
    """DROP SCHEMA "Od d'" CASCADE""",
    "TRUNCATE orders",
    "TRUNCATE parted",
    "TRUNCATE parted_0",
    """TRUNCATE "Od d'"."we""ird :x %s" """,
]


def test_ddl_and_truncate_are_refused_until_unlocked(shards: MovingShards) -> None:
    assert lock(shards) and lock(shards)
    for statement in DDL:
        with pytest.raises(REFUSED, match="move 7") as caught:
            run(shards.source_dsn, statement)
        assert "shardrouter move abort 7" in (caught.value.diag.message_hint or "")
    unlock(shards)
    unlock(shards)
    for statement in DDL:
        with open_transaction(shards.source_dsn, statement):
            pass
    assert run(shards.source_dsn, "SELECT count(*) FROM pg_event_trigger") == [(0,)]
    assert run(shards.source_dsn, "SELECT count(*) FROM shardrouter.move_lock") == [(0,)]
    functions = "SELECT count(*) FROM pg_proc WHERE proname LIKE 'move\\_7\\_%'"
    assert run(shards.source_dsn, functions) == [(0,)]


ALLOWED = [
    "CREATE TABLE another (id int); DROP TABLE another",
    "CREATE INDEX ON pg_temp.t (i)",
    "COMMENT ON TABLE orders IS 'moving'",
    "GRANT SELECT ON orders TO PUBLIC",
    "ANALYZE orders",
    "REINDEX TABLE orders",
    "CREATE PUBLICATION tests FOR TABLE orders; DROP PUBLICATION tests",
]


def test_what_does_not_change_the_rows_goes_on(shards: MovingShards) -> None:
    lock(shards)
    for statement in ALLOWED:
        run(shards.source_dsn, f"CREATE TEMP TABLE t (i int); {statement}")


def test_guards_are_replaced_meanwhile(shards: MovingShards, cluster: object) -> None:
    lock(shards)
    topology: Topology = cluster.topology.next(tables=TABLES)  # type: ignore[attr-defined]
    with shards.source.connect() as c:
        install_guards(c, topology, topology.shards[0].id)


def test_a_key_stays_in_its_slot(shards: MovingShards) -> None:
    lock(shards)
    moving_key = next(k for k in range(100) if key_slot(k, SLOT_COUNT) in SLOTS)
    resting, other = [k for k in range(100) if key_slot(k, SLOT_COUNT) not in SLOTS][:2]
    twin = next(
        k for k in range(100, 9999) if key_slot(k, SLOT_COUNT) == key_slot(moving_key, SLOT_COUNT)
    )
    run(
        shards.source_dsn,
        f"INSERT INTO orders (user_id, note) VALUES ({moving_key}, 'm'), ({resting}, 'r')",
    )
    change = "UPDATE orders SET user_id = {} WHERE note = '{}'"
    for key, note in ((resting, "m"), (moving_key, "r")):
        with pytest.raises(REFUSED, match=r"shard key of public\.orders cannot change from slot"):
            run(shards.source_dsn, change.format(key, note))
    for key, note in ((twin, "m"), (other, "r")):
        run(shards.source_dsn, change.format(key, note))
    run(shards.source_dsn, "UPDATE orders SET note = note || '!'")


def test_a_key_changed_by_another_trigger_is_seen(shards: MovingShards) -> None:
    lock(shards)
    moving_key = next(k for k in range(100) if key_slot(k, SLOT_COUNT) in SLOTS)
    resting = next(k for k in range(100) if key_slot(k, SLOT_COUNT) not in SLOTS)
    run(
        shards.source_dsn,
        f"""CREATE FUNCTION shift() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN NEW.user_id := {moving_key}; RETURN NEW; END';
        CREATE TRIGGER shift BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION shift();
        INSERT INTO orders (user_id) VALUES ({resting})""",
    )
    with pytest.raises(REFUSED):
        run(shards.source_dsn, "UPDATE orders SET note = 'x'")


def test_two_moves_share_tables(shards: MovingShards) -> None:
    lock(shards)
    lock(shards, tuple(Slot(s + 1) for s in SLOTS), **OTHER)
    unlock(shards)
    for statement in ("ALTER TABLE orders ADD extra int", "TRUNCATE orders", "DROP TABLE orders"):
        with pytest.raises(REFUSED, match="move 8"):
            run(shards.source_dsn, statement)
    unlock(shards, **OTHER)
    run(shards.source_dsn, "ALTER TABLE orders ADD extra int; TRUNCATE orders; DROP TABLE orders")


def test_a_role_that_may_not_make_event_triggers(shards: MovingShards) -> None:
    """As on managed Postgres: the rest of the lock stands, and the answer says so."""
    run(
        shards.source_dsn,
        "CREATE ROLE tests_owner; GRANT ALL ON SCHEMA shardrouter TO tests_owner;"
        "GRANT ALL ON ALL TABLES IN SCHEMA shardrouter TO tests_owner;"
        "ALTER TABLE orders OWNER TO tests_owner",
    )
    try:
        with shards.source.connect() as c:
            with c.begin():
                c.exec_driver_sql("SET ROLE tests_owner")
            assert not moving.lock_schema(c, [ORDERS], SLOTS, SLOT_COUNT, **OURS, sleep=sleep)
            with pytest.raises(REFUSED):
                run(shards.source_dsn, "TRUNCATE orders")
            run(shards.source_dsn, "ALTER TABLE orders ADD extra int")
            moving.unlock_schema(c, **OURS, sleep=sleep)
            with c.begin():
                c.exec_driver_sql("RESET ROLE")
    finally:
        run(shards.source_dsn, "DROP OWNED BY tests_owner CASCADE; DROP ROLE tests_owner")


def test_an_open_writer_is_named(shards: MovingShards) -> None:
    patience = Patience(first_ms=50, longest_ms=50, pause_seconds=0.01, attempts=2)
    with open_transaction(shards.source_dsn, "INSERT INTO orders (user_id) VALUES (1)"):
        with shards.source.connect() as c, pytest.raises(LockTimeout, match="orders"):
            moving.lock_schema(c, TABLES, SLOTS, SLOT_COUNT, **OURS, sleep=sleep, patience=patience)


def test_guards_widen_without_a_lock_on_the_table(shards: MovingShards, cluster: object) -> None:
    topology: Topology = cluster.topology.next(tables=(ORDERS,))  # type: ignore[attr-defined]
    shard = topology.shards[0].id
    guard = Guard.of(ORDERS, topology, shard)
    wider = Guard(ORDERS, shard, Epoch(9), guard.slots, tuple(map(Slot, range(guard.slots))))
    with shards.source.connect() as c:
        install_guards(c, topology, shard)
        with open_transaction(shards.source_dsn, "LOCK orders IN SHARE MODE"):
            with c.begin():
                moving.limit_waits(c, lock_seconds=2)
                assert moving.widen_guards(c, [wider])
        run(shards.source_dsn, "INSERT INTO orders (user_id) SELECT generate_series(1, 100)")
        with c.begin():
            narrow = Guard(ORDERS, shard, Epoch(10), guard.slots, guard.owned)
            assert not moving.widen_guards(c, [narrow])
    with pytest.raises(psycopg.Error, match="does not own slot"):
        run(shards.source_dsn, "INSERT INTO orders (user_id) SELECT generate_series(1, 100)")


def test_a_guard_that_is_not_ours_is_written_anew(shards: MovingShards, cluster: object) -> None:
    topology: Topology = cluster.topology.next(tables=(ORDERS,))  # type: ignore[attr-defined]
    guard = Guard.of(ORDERS, topology, topology.shards[0].id)
    with shards.source.connect() as c:
        with c.begin():
            assert not moving.widen_guards(c, [guard])
        with c.begin():
            assert moving.widen_guards(c, [guard])
        run(shards.source_dsn, "ALTER TABLE orders DISABLE TRIGGER zzz_shardrouter_guard")
        with c.begin():
            assert not moving.widen_guards(c, [guard])
