"""The text of the locks on moving tables."""

from shardrouter.postgres.guard_sql import TRIGGER_NAME
from shardrouter.postgres.moving.schema_lock_sql import (
    drop_key_function_sql,
    drop_triggers_sql,
    key_trigger_name,
    key_trigger_sql,
    truncate_trigger_sql,
)
from shardrouter.topology import KeyColumn, KeyType, Slot, Table, TableKind

ODD = Table('t"1', TableKind.SHARDED, (KeyColumn('k"1', KeyType.INT8),), schema="s'1")


def test_names_are_quoted():
    function, trigger = key_trigger_sql(ODD, [Slot(1)], 16, 7)
    assert '"s\'1"."t""1"' in trigger
    assert 'WHEN (OLD."k""1" IS DISTINCT FROM NEW."k""1")' in trigger
    assert 'OLD."k""1"' in function
    assert '"s\'1"."t""1"' in truncate_trigger_sql("s'1", 't"1', 7)
    for statement in drop_triggers_sql("s'1", 't"1', 7):
        assert statement.endswith('ON "s\'1"."t""1"')


def test_the_guard_fires_last():
    assert key_trigger_name(9999) < TRIGGER_NAME


def test_moves_and_tables_have_functions_of_their_own():
    other = Table("t2", TableKind.SHARDED, ODD.key)
    names = {drop_key_function_sql(table, move) for table in (ODD, other) for move in (7, 8)}
    assert len(names) == 4
