"""What keeps two shards from carrying a move out, and the command that mends it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from shardrouter.postgres import ColumnFacts, TableFacts
from shardrouter.postgres.moving import Rights, Room, ShardFacts
from shardrouter.rebalance.preflight.rules import (
    ForeignKey,
    Needs,
    Problem,
    TablePair,
    foreign_key_problems,
    server_notes,
    server_problems,
    table_problems,
)
from shardrouter.topology import KeyColumn, KeyType, ShardId, Table, TableKind

S0, S1 = ShardId("s0"), ShardId("s1")
NEEDS = Needs(S0, S1, is_reversible=True, is_safe_copy=True)
KEY = (KeyColumn("user_id", KeyType.INT8),)
ORDERS = Table("orders", TableKind.SHARDED, KEY)
USERS = Table("users", TableKind.SHARDED, (KeyColumn("id", KeyType.INT8),))

RIGHTS = Rights(True, True, True, True, True, True)
SOURCE = ShardFacts(
    version=180000,
    system_id="1",
    timeline=1,
    in_recovery=False,
    database="app",
    encoding="UTF8",
    collation="c C C",
    wal_level="logical",
    replication_slots=Room(20, 10),
    wal_senders=Room(20, 10),
    logical_workers=Room(8, 8),
    replication_origins=Room(10, 10),
    sync_workers_per_subscription=2,
    max_slot_wal_keep_bytes=None,
    role_statement_timeout_ms=0,
    rights=RIGHTS,
    synchronous_standby_names="",
    database_bytes=1,
    standbys=(),
    long_transactions=(),
)
TARGET = replace(SOURCE, system_id="2")


def problems(source: ShardFacts = SOURCE, target: ShardFacts = TARGET) -> list[str]:
    return [str(problem) for problem in server_problems(NEEDS, source, target)]


def column(name: str, kind: str = "int8", *, is_deterministic: bool = True) -> ColumnFacts:
    return ColumnFacts(name, kind, -1, True, False, is_deterministic)


def facts(**changes: Any) -> TableFacts:
    values: dict[str, Any] = {
        "schema": "public",
        "name": "orders",
        "kind": "r",
        "is_permanent": True,
        "is_inherited": False,
        "encoding": "UTF8",
        "columns": (column("user_id"), column("id"), column("note", "text")),
        "primary_key": ("user_id", "id"),
        "identity": frozenset({"user_id", "id"}),
    }
    return TableFacts(**{**values, **changes})


def of_table(pair: TablePair, *, has_same_collation: bool = True) -> list[Problem]:
    return list(table_problems(NEEDS, pair, has_same_collation=has_same_collation))


def test_good_servers_have_no_problems():
    assert problems() == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"wal_level": "replica"}, "ALTER SYSTEM SET wal_level = logical"),
        ({"replication_slots": Room(20, 2)}, "ALTER SYSTEM SET max_replication_slots = 21"),
        ({"wal_senders": Room(10, 0)}, "ALTER SYSTEM SET max_wal_senders = 13"),
        ({"rights": replace(RIGHTS, may_publish=False)}, "GRANT CREATE ON DATABASE"),
        ({"rights": replace(RIGHTS, may_replicate=False)}, "REPLICATION"),
        (
            {"rights": replace(RIGHTS, may_set_replication_role=False)},
            "GRANT SET ON PARAMETER session_replication_role",
        ),
        ({"role_statement_timeout_ms": 5000}, "statement_timeout = 0"),
    ],
)
def test_a_source_that_cannot_publish(changes: dict[str, Any], told: str):
    found = problems(replace(SOURCE, **changes))
    assert len(found) == 1
    assert found[0].startswith("s0: ") and told in found[0]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"encoding": "LATIN1"}, "ENCODING 'UTF8'"),
        ({"system_id": "1"}, "the very database of the source"),
        ({"logical_workers": Room(4, 1)}, "max_logical_replication_workers = 6"),
        ({"replication_origins": Room(9, 0)}, "max_active_replication_origins = 10"),
        (
            {"replication_origins": Room(9, 0), "version": 170000},
            "ALTER SYSTEM SET max_replication_slots = 10",
        ),
        ({"rights": replace(RIGHTS, may_subscribe=False)}, "pg_create_subscription"),
    ],
)
def test_a_target_that_cannot_subscribe(changes: dict[str, Any], told: str):
    found = problems(target=replace(TARGET, **changes))
    assert len(found) == 1
    assert found[0].startswith("s1: ") and told in found[0]


def test_without_a_soak_the_target_need_not_publish():
    needs = replace(NEEDS, is_reversible=False)
    target = replace(TARGET, wal_level="replica")
    assert list(server_problems(needs, SOURCE, target)) == []
    assert len(list(server_problems(NEEDS, SOURCE, target))) == 1


def test_limits_of_wal_and_rights_that_are_missed_are_told():
    source = replace(
        SOURCE,
        max_slot_wal_keep_bytes=1 << 30,
        rights=replace(RIGHTS, may_lock_ddl=False),
    )
    notes = list(server_notes(NEEDS, source, TARGET))
    assert len(notes) == 2
    assert "event triggers" in notes[0] and "1024 MB" in notes[1]


def test_a_good_table_has_no_problems():
    assert of_table(TablePair(ORDERS, facts(), facts())) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"kind": "f"}, "not an ordinary"),
        ({"is_permanent": False}, "SET LOGGED"),
        ({"is_inherited": True}, "inheritance"),
        ({"primary_key": (), "identity": None}, "ADD PRIMARY KEY"),
        ({"identity": frozenset({"id"})}, "REPLICA IDENTITY USING INDEX"),
        ({"columns": (column("user_id"), column("id"), column("pic", "lo"))}, "bytea"),
        (
            {"columns": (column("user_id"), column("id", "text", is_deterministic=False))},
            "nondeterministic",
        ),
    ],
)
def test_a_table_that_cannot_move(changes: dict[str, Any], told: str):
    found = of_table(TablePair(ORDERS, facts(**changes), facts()))
    assert len(found) == 1
    assert found[0].shard == S0 and told in str(found[0])


def test_tables_that_are_missing_or_differ_name_the_migration():
    for pair in (
        TablePair(ORDERS, None, facts()),
        TablePair(ORDERS, facts(), None),
        TablePair(ORDERS, facts(), facts(), differences=("column note is text here",)),
    ):
        [found] = of_table(pair)
        assert "shardrouter migrate upgrade" in found.mend


def test_triggers_that_fire_for_replicated_rows():
    [found] = of_table(TablePair(ORDERS, facts(), facts(), triggers=("audit",)))
    assert found.mend == "ALTER TABLE public.orders ENABLE TRIGGER audit"


def test_another_collation_matters_for_keys_of_text():
    text_key = facts(columns=(column("user_id"), column("id", "text")))
    assert of_table(TablePair(ORDERS, facts(), facts()), has_same_collation=False) == []
    [found] = of_table(TablePair(ORDERS, text_key, text_key), has_same_collation=False)
    assert "same locale" in found.mend


def keys_of(child: str, parent: str, *pairs: tuple[str, str]) -> list[Problem]:
    key = ForeignKey("fk", f"public.{child}", f"public.{parent}", pairs)
    tables: Sequence[Table] = (ORDERS, USERS)
    return list(foreign_key_problems(S0, [key], tables, ["public.countries"]))


def test_foreign_keys_that_move_along():
    assert keys_of("orders", "users", ("user_id", "id")) == []
    assert keys_of("orders", "countries", ("country", "code")) == []


def test_foreign_keys_that_do_not():
    assert "shard key" in str(keys_of("orders", "users", ("friend", "id"))[0])
    assert "reference table" in str(keys_of("orders", "audit", ("audit", "id"))[0])
    assert "not sharded" in str(keys_of("audit", "orders", ("order", "id"))[0])
