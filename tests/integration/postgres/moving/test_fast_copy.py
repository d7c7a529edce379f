"""A copy at an exported snapshot, in parts, that the stream continues without a gap."""

from time import sleep
from typing import Any

import pytest

from shardrouter.errors import LockTimeout, MoveError, MoveTakenOver
from shardrouter.postgres import install_guards, moving
from shardrouter.topology import KeyColumn, KeyType, ShardId, Slot, Table, TableKind, Topology
from tests.support.moving_shards import (
    ATTEMPT,
    MOVE,
    NAME,
    ODD,
    ORDERS,
    OURS,
    SLOT_COUNT,
    SLOTS,
    TABLES,
    TOKEN,
    MovingShards,
    open_transaction,
    run,
)

SESSION: dict[str, Any] = {"application_name": moving.session_name(MOVE, TOKEN)}
OF: dict[str, Any] = {"move": MOVE, "attempt": ATTEMPT, "token": TOKEN}


def copy(
    shards: MovingShards, snapshot: moving.ExportedSnapshot, tables: tuple[Table, ...] = TABLES
) -> tuple[int, int]:
    """Copy all parts; return rows and bytes."""
    rows = sent = 0
    with shards.source.connect() as a, shards.target.connect() as b:
        moving.enter_snapshot(a, snapshot.name)
        parts = moving.plan_copy(a, tables, chunk_bytes=5 * 8192)
        for part in parts:
            done = moving.copy_part(a, b, part, SLOTS, SLOT_COUNT, **OF, on_block=lambda r, n: None)
            rows, sent = rows + done.rows, sent + done.bytes
        a.rollback()
    return rows, sent


def test_copy_and_stream_meet(shards: MovingShards) -> None:
    shards.fill()
    shards.publish()
    with moving.export_snapshot(shards.source_dsn, NAME, **SESSION) as snapshot:
        run(shards.source_dsn, "UPDATE orders SET note = 'later' WHERE id % 4 = 0")
        run(shards.source_dsn, "DELETE FROM parted WHERE id % 4 = 0")
        run(shards.source_dsn, "INSERT INTO orders (user_id) SELECT generate_series(1, 99)")
        rows, sent = copy(shards, snapshot)
        assert snapshot.is_alive()
    assert rows == sum(shards.rows(shards.target_dsn, table) for table in TABLES) > 0
    assert sent > rows
    shards.subscribe(copy_data=False)
    shards.wait_streamed()
    with shards.source.begin() as a, shards.target.begin() as b:
        for table in TABLES:
            ours, theirs = (
                moving.digest_range(c, table, SLOTS, SLOT_COUNT, None, None) for c in (a, b)
            )
            assert ours.matches(theirs) and ours.rows


def test_a_part_arrives_once(shards: MovingShards) -> None:
    shards.fill()
    with moving.export_snapshot(shards.source_dsn, NAME, **SESSION) as snapshot:
        first, _ = copy(shards, snapshot)
        assert copy(shards, snapshot) == (first, 0)


def test_guards_let_a_copy_in(shards: MovingShards, cluster: object) -> None:
    topology: Topology = cluster.topology.next(tables=TABLES)  # type: ignore[attr-defined]
    none = topology.next(owners=(topology.shards[0].id,) * topology.slots)
    with shards.target.connect() as c:
        install_guards(c, none, topology.shards[1].id)
    shards.fill()
    with moving.export_snapshot(shards.source_dsn, NAME, **SESSION) as snapshot:
        rows, _ = copy(shards, snapshot)
    assert rows > 0


def test_types_of_the_database_travel_as_text(shards: MovingShards) -> None:
    for dsn in (shards.target_dsn, shards.source_dsn):
        run(dsn, "CREATE TYPE colour AS ENUM ('red', 'green')")
        run(dsn, "CREATE TABLE paints (id bigint PRIMARY KEY, all_of colour[])")
    run(shards.source_dsn, "INSERT INTO paints SELECT i, '{red}' FROM generate_series(1, 99) i")
    paints = Table("paints", TableKind.SHARDED, (KeyColumn("id", KeyType.INT8),))
    with shards.source.begin() as c:
        assert not moving.has_portable_types(c, paints)
        assert moving.has_portable_types(c, ORDERS) and moving.has_portable_types(c, ODD)
    with moving.export_snapshot(shards.source_dsn, NAME, **SESSION) as snapshot:
        rows, _ = copy(shards, snapshot, (paints,))
    assert rows == shards.rows(shards.target_dsn, paints) > 0


def test_a_replaced_mover_copies_nothing(shards: MovingShards) -> None:
    shards.fill()
    with moving.export_snapshot(shards.source_dsn, NAME, **SESSION) as snapshot:
        with shards.target.connect() as c:
            moving.take_token(c, MOVE, TOKEN + 1)
        with pytest.raises(MoveTakenOver):
            copy(shards, snapshot)
    assert shards.rows(shards.target_dsn, ORDERS) == 0


def test_a_callback_can_end_a_copy(shards: MovingShards) -> None:
    class EnoughError(Exception):
        pass

    def enough(rows: int, size: int) -> None:
        raise EnoughError

    shards.fill()
    with moving.export_snapshot(shards.source_dsn, NAME, **SESSION) as snapshot:
        with shards.source.connect() as a, shards.target.connect() as b:
            moving.enter_snapshot(a, snapshot.name)
            [part] = moving.plan_copy(a, [ORDERS])
            with pytest.raises(EnoughError):
                moving.copy_part(a, b, part, SLOTS, SLOT_COUNT, **OF, on_block=enough)
            a.invalidate()
            b.invalidate()
    assert shards.rows(shards.target_dsn, ORDERS) == 0


def test_a_row_that_is_there_stops_the_copy(shards: MovingShards) -> None:
    shards.fill(shards.source_dsn, shards.target_dsn)
    with moving.export_snapshot(shards.source_dsn, NAME, **SESSION) as snapshot:
        with pytest.raises(MoveError, match="duplicate key") as caught:
            with moving.on_shard(ShardId("s1")):
                copy(shards, snapshot)
    assert "already exists" in str(caught.value)


def test_a_snapshot_names_what_it_waits_for(shards: MovingShards) -> None:
    with open_transaction(shards.source_dsn, "INSERT INTO parted VALUES (1, 'x')") as holder:
        with pytest.raises(LockTimeout) as caught:
            with moving.export_snapshot(shards.source_dsn, NAME, **SESSION, wait_seconds=0.3):
                pass
        assert f"pid {holder.info.backend_pid}" in str(caught.value)
    with shards.source.begin() as c:
        assert not moving.slot_state(c, NAME).exists


def test_a_snapshot_is_not_made_twice(shards: MovingShards) -> None:
    with moving.export_snapshot(shards.source_dsn, NAME, **SESSION) as snapshot:
        name = snapshot.name
        with pytest.raises(MoveError, match="its snapshot is gone"):
            with moving.export_snapshot(shards.source_dsn, NAME, **SESSION):
                pass
    with shards.source.connect() as c:
        with pytest.raises(MoveError, match="is gone"):
            moving.enter_snapshot(c, name)
        with c.begin():
            assert moving.slot_state(c, NAME).exists
        moving.drop_slot(c, NAME, **OURS, sleep=sleep)


def test_sessions_of_a_snapshot_are_known(shards: MovingShards) -> None:
    with moving.export_snapshot(shards.source_dsn, NAME, **SESSION) as snapshot:
        with shards.source.begin() as c:
            assert moving.end_other_sessions(c, MOVE, TOKEN + 1) == 1
            with pytest.raises(MoveError, match="is gone"):
                moving.enter_snapshot(shards.source.connect(), snapshot.name)


def test_a_large_table_is_cut(shards: MovingShards) -> None:
    run(
        shards.source_dsn,
        "INSERT INTO orders (user_id, note) SELECT i, repeat('x', 500)"
        " FROM generate_series(1, 1000) i",
    )
    with shards.source.begin() as c:
        parts = moving.plan_copy(c, [ORDERS], chunk_bytes=10 * 8192)
    ends = [part.end_block for part in parts]
    assert len(parts) > 4
    assert ends[-1] is None
    assert [part.first_block for part in parts] == [0, *ends[:-1]]


def test_every_slot_of_a_part_is_chosen_by_the_filter(shards: MovingShards) -> None:
    shards.fill()
    with moving.export_snapshot(shards.source_dsn, NAME, **SESSION) as snapshot:
        copy(shards, snapshot)
    others = tuple(Slot(i) for i in range(SLOT_COUNT) if Slot(i) not in SLOTS)
    assert all(shards.rows(shards.target_dsn, table, others) == 0 for table in TABLES)
