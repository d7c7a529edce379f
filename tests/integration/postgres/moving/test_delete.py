"""Copies are deleted in chunks, past guards and foreign keys, and only the slots' rows."""

from time import sleep

import psycopg
import pytest
from sqlalchemy import Connection

from shardrouter.postgres import install_guards, moving
from shardrouter.topology import Slot, Table, Topology
from tests.support.moving_shards import (
    FLEET,
    MOVE,
    ORDERS,
    OURS,
    PARTED,
    SLOT_COUNT,
    SLOTS,
    TABLES,
    MovingShards,
    run,
)

OTHERS = tuple(Slot(i) for i in range(SLOT_COUNT) if Slot(i) not in SLOTS)
ORIGIN = moving.cleaning_origin_name(FLEET, MOVE)


def delete_all(connection: Connection, table: Table, limit: int) -> list[int]:
    """Return how many rows each chunk deleted."""
    place: moving.DeletePlace | None = moving.FIRST_PLACE
    counts: list[int] = []
    while place is not None:
        with connection.begin():
            done = moving.delete_slots(connection, table, SLOTS, SLOT_COUNT, limit, place)
        counts.append(done.rows)
        place = done.next
    return counts


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_only_rows_of_the_slots_go(shards: MovingShards, table: Table) -> None:
    shards.fill()
    before = shards.rows(shards.source_dsn, table, OTHERS)
    mine = shards.rows(shards.source_dsn, table)
    with shards.source.connect() as c:
        counts = delete_all(c, table, 100)
        assert sum(counts) == mine and max(counts) == 100
        with c.begin():
            assert not moving.has_rows(c, table, SLOTS, SLOT_COUNT)
            assert moving.has_rows(c, table, OTHERS, SLOT_COUNT)
        assert sum(delete_all(c, table, 100)) == 0
    assert shards.rows(shards.source_dsn, table, OTHERS) == before


def test_a_partition_that_holds_nothing_else_is_emptied_at_once(shards: MovingShards) -> None:
    shards.fill()
    others = shards.rows(shards.source_dsn, PARTED, OTHERS)
    with shards.source.connect() as c:
        assert moving.lock_schema(c, TABLES, SLOTS, SLOT_COUNT, **OURS, sleep=sleep)
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            run(shards.source_dsn, "TRUNCATE parted_0")
        with c.begin():
            assert moving.slot_partitions(c, ORDERS, SLOTS, SLOT_COUNT) == ()
            assert moving.slot_partitions(c, PARTED, SLOTS[1:], SLOT_COUNT) == ()
            assert moving.slot_partitions(c, PARTED, SLOTS, SLOT_COUNT) == ("public.parted_0",)
            assert not moving.holds_only(c, "public.parted_1", PARTED, SLOTS, SLOT_COUNT)
            assert moving.holds_only(c, "public.parted_0", PARTED, SLOTS, SLOT_COUNT)
        with c.begin():
            assert moving.empty_partition(c, "public.parted_0")
        with c.begin():
            assert moving.slot_partitions(c, PARTED, SLOTS, SLOT_COUNT) == ()
            assert not moving.has_rows(c, PARTED, SLOTS, SLOT_COUNT)
    assert shards.rows(shards.source_dsn, PARTED, OTHERS) == others > 0


@pytest.mark.parametrize(
    "obstacle",
    [
        "CREATE TABLE child (id bigint REFERENCES parted)",
        "BEGIN; SELECT FROM parted_0 LIMIT 1",
    ],
    ids=["a foreign key", "a reader"],
)
def test_a_partition_that_cannot_be_truncated_is_left_to_deletes(
    shards: MovingShards, obstacle: str
) -> None:
    shards.fill()
    with psycopg.connect(shards.source_dsn, autocommit=True) as other:
        other.execute(obstacle.encode())
        with shards.source.connect() as c:
            with c.begin():
                assert not moving.empty_partition(c, "public.parted_0")
                assert c.exec_driver_sql("SELECT 1").scalar() == 1
            assert sum(delete_all(c, PARTED, 1000)) > 0


def test_guards_and_foreign_keys_do_not_stop_it(shards: MovingShards, cluster: object) -> None:
    shards.fill()
    run(
        shards.source_dsn,
        "CREATE TABLE lines (user_id bigint, id bigint, FOREIGN KEY (user_id, id)"
        " REFERENCES orders (user_id, id)); INSERT INTO lines SELECT user_id, id FROM orders",
    )
    topology: Topology = cluster.topology.next(tables=TABLES)  # type: ignore[attr-defined]
    none = topology.next(owners=(topology.shards[1].id,) * topology.slots)
    with shards.source.connect() as c:
        install_guards(c, none, topology.shards[0].id)
        assert sum(delete_all(c, ORDERS, 1000)) > 0


def test_deletions_are_marked_as_not_our_own(shards: MovingShards) -> None:
    shards.fill()
    options = "'include-xids', '0', 'only-local', '1', 'skip-empty-xacts', '1'"
    run(shards.source_dsn, "SELECT pg_create_logical_replication_slot('tests_cdc','test_decoding')")
    changes = f"SELECT count(*) FROM pg_logical_slot_get_changes('tests_cdc',NULL,NULL,{options})"
    try:
        run(shards.source_dsn, changes)
        with shards.source.connect() as c:
            with moving.cleaning_origin(c, ORIGIN) as is_marked:
                assert is_marked
                assert sum(delete_all(c, ORDERS, 1000)) > 0
            assert run(shards.source_dsn, changes) == [(0,)]
            with c.begin():
                c.exec_driver_sql("DELETE FROM parted WHERE id = 1")
            assert run(shards.source_dsn, changes) != [(0,)]
            for _ in range(2):
                with c.begin():
                    moving.drop_origin(c, ORIGIN)
    finally:
        run(shards.source_dsn, "SELECT pg_drop_replication_slot('tests_cdc')")
    assert run(shards.source_dsn, "SELECT count(*) FROM pg_replication_origin") == [(0,)]


def test_an_origin_in_use_is_done_without(shards: MovingShards) -> None:
    with shards.source.connect() as one, shards.source.connect() as two:
        with moving.cleaning_origin(one, ORIGIN) as first:
            with moving.cleaning_origin(two, ORIGIN) as second:
                assert (first, second) == (True, False)
        with moving.cleaning_origin(two, ORIGIN) as again:
            assert again
        with two.begin():
            moving.drop_origin(two, ORIGIN)


def test_an_error_leaves_the_origin(shards: MovingShards) -> None:
    with shards.source.connect() as c:
        with pytest.raises(ZeroDivisionError):
            with moving.cleaning_origin(c, ORIGIN):
                c.exec_driver_sql("SELECT 1")
                raise ZeroDivisionError
        with moving.cleaning_origin(c, ORIGIN) as is_marked:
            assert is_marked
        with c.begin():
            moving.drop_origin(c, ORIGIN)
