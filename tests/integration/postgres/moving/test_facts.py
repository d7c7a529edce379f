"""What a shard says of itself: facts, loads of slots, sequences, standbys."""

from itertools import count
from time import sleep

import pytest

from shardrouter.errors import MoveError
from shardrouter.postgres import moving
from shardrouter.topology import Slot, key_slot
from tests.support.cluster import Cluster
from tests.support.moving_shards import (
    NAME,
    ODD,
    ORDERS,
    OURS,
    PARTED,
    SLOT_COUNT,
    SLOTS,
    TABLES,
    MovingShards,
    open_transaction,
    run,
)


def test_facts(shards: MovingShards, cluster: Cluster) -> None:
    with shards.source.begin() as c:
        before = moving.shard_facts(c)
    shards.subscribe(copy_data=False)
    shards.wait_streamed()
    with open_transaction(shards.source_dsn, "INSERT INTO parted VALUES (1, 'x')") as holder:
        with shards.source.begin() as c:
            facts = moving.shard_facts(c)
            assert moving.identity(c) == (facts.system_id, facts.timeline)
        own = f"pid {holder.info.backend_pid}"
        assert any(own in str(open_one) for open_one in facts.long_transactions)
    assert facts.wal_level == "logical" and not facts.in_recovery
    assert (facts.encoding, facts.database) == ("UTF8", cluster.database)
    assert facts.replication_slots.free == before.replication_slots.free - 1
    assert facts.wal_senders.free == before.wal_senders.free - 1
    assert facts.max_slot_wal_keep_bytes is None and facts.role_statement_timeout_ms == 0
    assert facts.rights == moving.Rights(True, True, True, True, True, True)
    assert [standby.name for standby in facts.standbys] == ["s0-r1"]
    assert facts.synchronous_standby_names == "" and facts.database_bytes > 0
    with shards.target.begin() as c:
        theirs = moving.shard_facts(c)
    assert theirs.logical_workers.free == theirs.logical_workers.limit - 1
    assert theirs.replication_origins.free < theirs.replication_origins.limit
    assert theirs.system_id != facts.system_id and theirs.collation == facts.collation


def test_rights_of_an_ordinary_role(shards: MovingShards) -> None:
    run(shards.source_dsn, "CREATE ROLE tests_plain; GRANT pg_monitor TO tests_plain")
    try:
        with shards.source.connect() as c:
            with c.begin():
                c.exec_driver_sql("SET LOCAL ROLE tests_plain")
                assert moving.shard_facts(c).rights == moving.Rights(*[False] * 6)
            run(
                shards.source_dsn,
                "GRANT SET ON PARAMETER session_replication_role TO tests_plain;"
                f"GRANT CREATE ON DATABASE {c.engine.url.database} TO tests_plain;"
                "ALTER ROLE tests_plain REPLICATION",
            )
            with c.begin():
                c.exec_driver_sql("SET LOCAL ROLE tests_plain")
                facts = moving.shard_facts(c)
        assert facts.rights == moving.Rights(False, False, True, True, True, False)
        if facts.version >= 160000:
            run(shards.source_dsn, "GRANT pg_create_subscription TO tests_plain")
            with shards.source.begin() as c:
                c.exec_driver_sql("SET LOCAL ROLE tests_plain")
                assert moving.shard_facts(c).rights.may_subscribe
    finally:
        run(shards.source_dsn, "DROP OWNED BY tests_plain; DROP ROLE tests_plain")


@pytest.mark.parametrize(
    ("role", "may_subscribe", "may_replicate"),
    [("rds_superuser", True, False), ("rds_replication", False, True)],
)
def test_roles_of_managed_services_stand_for_rights(
    shards: MovingShards, role: str, may_subscribe: bool, may_replicate: bool
) -> None:
    make = f"CREATE ROLE {role}; CREATE ROLE tests_managed; GRANT {role} TO tests_managed"
    run(shards.source_dsn, f"{make}; GRANT pg_monitor TO tests_managed")
    try:
        with shards.source.begin() as c:
            c.exec_driver_sql("SET LOCAL ROLE tests_managed")
            rights = moving.shard_facts(c).rights
        assert (rights.may_subscribe, rights.may_replicate) == (may_subscribe, may_replicate)
        assert not rights.is_superuser
    finally:
        run(shards.source_dsn, f"DROP ROLE tests_managed; DROP ROLE {role}")


def test_loads_of_slots(shards: MovingShards) -> None:
    shards.fill()
    with shards.source.begin() as c:
        loads = moving.slot_loads(c, TABLES, SLOT_COUNT)
        for slot in (SLOTS[0], Slot(1), Slot(63)):
            rows = sum(moving.count_rows(c, table, [slot], SLOT_COUNT) for table in TABLES)
            assert loads[slot].rows == rows > 0
            assert loads[slot].bytes > 0
        [size] = c.exec_driver_sql(
            "SELECT pg_total_relation_size('orders') + pg_total_relation_size('paired')"
            " + pg_total_relation_size('parted_0') + pg_total_relation_size('parted_1')"
        ).one()
        assert sum(load.bytes for load in loads.values()) > size
        assert moving.table_loads(c, ODD, SLOT_COUNT)
        moving.analyze(c, TABLES)


def test_loads_of_a_large_table_are_sampled(shards: MovingShards) -> None:
    run(
        shards.source_dsn,
        "INSERT INTO orders (user_id, note) SELECT i % 7, repeat('x', 200)"
        " FROM generate_series(1, 20000) i",
    )
    with shards.source.begin() as c:
        exact = moving.table_loads(c, ORDERS, SLOT_COUNT)
        guessed = moving.table_loads(c, ORDERS, SLOT_COUNT, sampled_bytes=1 << 20)
    assert set(guessed) == set(exact)
    total = sum(load.rows for load in guessed.values())
    assert 10_000 < total < 40_000


def test_an_empty_table_has_no_load(shards: MovingShards) -> None:
    with shards.source.begin() as c:
        assert moving.slot_loads(c, TABLES, SLOT_COUNT) == {}


def test_sequences_pass_what_the_other_side_gave_out(shards: MovingShards) -> None:
    for dsn in (shards.source_dsn, shards.target_dsn):
        run(
            dsn,
            """CREATE SEQUENCE "own Seq's" INCREMENT -5 CACHE 3 MINVALUE -900 MAXVALUE -1;
            ALTER TABLE parted ADD nr bigint DEFAULT nextval('"own Seq''s"'), ADD s smallserial""",
        )
    run(
        shards.source_dsn,
        "INSERT INTO orders (user_id) SELECT generate_series(1, 40);"
        "INSERT INTO parted (id) SELECT generate_series(1, 10)",
    )
    with shards.source.begin() as a, shards.target.begin() as b:
        changed = moving.set_sequences(a, b, (ORDERS, PARTED))
        assert len(changed) == 3
        assert moving.set_sequences(a, b, (ORDERS, PARTED)) == []
        assert moving.set_sequences(b, a, (ORDERS, PARTED)) == changed  # the gap lies behind ours
        assert moving.set_sequences(a, b, (ORDERS, PARTED)) != []
    run(shards.target_dsn, "INSERT INTO parted (id) VALUES (1)")
    theirs = run(shards.source_dsn, "SELECT nr, s FROM parted")
    [mine] = run(shards.target_dsn, "SELECT nr, s FROM parted")
    assert mine[0] < min(row[0] for row in theirs)
    assert mine[1] > max(row[1] for row in theirs)


def test_a_sequence_without_room_is_named(shards: MovingShards) -> None:
    run(shards.target_dsn, "ALTER TABLE orders ALTER id SET MAXVALUE 10")
    run(shards.source_dsn, "INSERT INTO orders (user_id) SELECT generate_series(1, 40)")
    with shards.source.begin() as a, shards.target.begin() as b:
        with pytest.raises(MoveError, match=r"orders_id_seq.*cannot go on"):
            moving.set_sequences(a, b, (ORDERS,))


def test_standbys_and_not_subscriptions_are_waited_for(
    shards: MovingShards, cluster: Cluster
) -> None:
    shards.subscribe(copy_data=False)
    shards.wait_streamed()
    ticks = count()
    with shards.source.connect() as c:
        lsn = moving.flush_wal(c, **OURS)
        assert moving.wait_for_standbys(c, lsn, 1000, sleep, now=lambda: next(ticks)) == ()
        with cluster.replay_paused("s0-r1"):
            lsn = moving.flush_wal(c, **OURS)
            assert moving.wait_for_standbys(c, lsn, 1e12, sleep) == ()
            behind = moving.wait_for_standbys(c, lsn, 0, sleep, replayed=True)
            assert behind == ("s0-r1",)
        assert moving.wait_for_standbys(c, lsn, 1e12, sleep, replayed=True) == ()
        with c.begin():
            [standby] = moving.standby_positions(c)
    assert standby.flush_lsn >= standby.replay_lsn >= lsn


def test_a_slot_of_somebody_else_is_not_ours(shards: MovingShards) -> None:
    key = next(k for k in count(1) if key_slot(k, SLOT_COUNT) in SLOTS)
    run(shards.source_dsn, f"INSERT INTO orders (user_id) VALUES ({key})")
    other = f"{NAME}x"
    with shards.source.connect() as c:
        moving.create_slot(c, other, **OURS)
        moving.drop_slot(c, NAME, **OURS, sleep=sleep)
        with c.begin():
            assert moving.slot_state(c, other).exists
