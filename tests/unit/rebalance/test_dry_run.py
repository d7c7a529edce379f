"""The SQL of a move that is only looked at."""

from dataclasses import replace
from uuid import UUID

from shardrouter.rebalance.dry_run import Statement, statements_of
from shardrouter.rebalance.planning.plan import Batch
from shardrouter.topology import KeyColumn, KeyType, ShardId, Slot, Table, TableKind
from tests.support.topologies import small_topology

ORDERS = Table("orders", TableKind.SHARDED, (KeyColumn("user_id", KeyType.INT8),))
TOPOLOGY = replace(small_topology(dsn="host=db user=u password=hunter2"), tables=(ORDERS,))
BATCH = Batch(ShardId("s0"), ShardId("s1"), (Slot(2), Slot(4)))


def statements(*, soaks: bool) -> tuple[Statement, ...]:
    return statements_of(BATCH, TOPOLOGY, UUID(int=0xABCDEF), 7, soaks=soaks)


def test_every_step_on_its_shard_in_order() -> None:
    told = statements(soaks=True)
    steps = list(dict.fromkeys(statement.step for statement in told))
    assert steps == ["preparing", "copying", "ready", "fencing", "committed", "cleaning"]
    where = {(s.step, s.shard) for s in told}
    assert {("fencing", "s0"), ("committed", "s1"), ("copying", "s1")} <= where
    assert ("fencing", "s1") not in where


def test_what_is_made_is_dropped() -> None:
    sql = [statement.sql for statement in statements(soaks=True)]
    for kind in ("PUBLICATION", "SUBSCRIPTION"):
        made = sum(text.startswith(f"CREATE {kind}") for text in sql)
        assert made == sum(text.startswith(f"DROP {kind}") for text in sql) == 2
    assert sum("pg_create_logical_replication_slot" in text for text in sql) == 2
    assert sum("pg_drop_replication_slot" in text for text in sql) == 2


def test_without_a_soak_there_is_no_way_back() -> None:
    sql = [statement.sql for statement in statements(soaks=False)]
    assert sum(text.startswith("CREATE PUBLICATION") for text in sql) == 1


def test_no_password_is_shown() -> None:
    told = "".join(statement.sql for statement in statements(soaks=True))
    assert "hunter2" not in told
    assert "host=db" in told


def test_the_fence_keeps_the_slots_out_and_the_target_lets_them_in() -> None:
    bodies = {
        s.step: s.sql for s in statements(soaks=False) if "CREATE OR REPLACE FUNCTION" in s.sql
    }
    owned = bytearray(8)
    for slot in (s for s in range(64) if s % 2 == 0 and s not in BATCH.slots):
        owned[slot >> 3] |= 1 << (slot & 7)
    assert owned.hex() in bodies["fencing"]
    for slot in BATCH.slots:
        owned[slot >> 3] |= 1 << (slot & 7)
    odd = bytearray(int("aa" * 8, 16).to_bytes(8, "big"))
    for slot in BATCH.slots:
        odd[slot >> 3] |= 1 << (slot & 7)
    assert odd.hex() in bodies["committed"]
