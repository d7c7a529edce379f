"""Which tables and columns can be sharded, as the server's catalog tells them."""

from dataclasses import replace

import pytest

from shardrouter.errors import UnsupportedSchema
from shardrouter.postgres import ColumnFacts, TableFacts, key_columns
from shardrouter.topology import KeyColumn, KeyType

ID = ColumnFacts("id", "int8", -1, True, False, True)
ORDERS = TableFacts("public", "orders", "r", True, False, "UTF8", (ID,), ("id",), frozenset(["id"]))


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (ID, KeyType.INT8),
        (replace(ID, type="int2"), KeyType.INT2),
        (replace(ID, type="varchar", precision=24), KeyType.VARCHAR),
        (replace(ID, type="timestamptz", precision=6), KeyType.TIMESTAMPTZ),
        (replace(ID, type="uuid"), KeyType.UUID),
    ],
)
def test_key_columns_are_typed(column: ColumnFacts, expected: KeyType) -> None:
    assert key_columns(replace(ORDERS, columns=(column,)), ["id"]) == (KeyColumn("id", expected),)


@pytest.mark.parametrize(
    ("column", "why"),
    [
        (replace(ID, type="numeric"), r"public\.orders\.id of type numeric cannot be a shard key"),
        (replace(ID, type="bpchar"), "type bpchar"),
        (replace(ID, type="citext"), "type citext"),
        (replace(ID, type="mood"), "type mood"),
        (replace(ID, is_not_null=False), "may be NULL"),
        (replace(ID, is_generated=True), "is generated"),
        (replace(ID, type="text", has_deterministic_collation=False), "nondeterministic"),
        (replace(ID, type="timestamp", precision=0), "is rounded when stored"),
        (replace(ID, name="other"), r"public\.orders\.id does not exist"),
    ],
)
def test_unfit_columns_are_refused(column: ColumnFacts, why: str) -> None:
    with pytest.raises(UnsupportedSchema, match=why) as caught:
        key_columns(replace(ORDERS, columns=(column,)), ["id"])
    assert caught.value.hint


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (replace(ORDERS, kind="v"), "is not a table"),
        (replace(ORDERS, is_permanent=False), "is unlogged or temporary"),
        (replace(ORDERS, is_inherited=True), "inherits"),
        (replace(ORDERS, encoding="LATIN1"), "encoding LATIN1"),
    ],
)
def test_unfit_tables_are_refused(facts: TableFacts, why: str) -> None:
    with pytest.raises(UnsupportedSchema, match=why):
        key_columns(facts, ["id"])


def test_a_full_replica_identity_holds_everything() -> None:
    assert replace(ORDERS, identity=None).identity_holds(["any"])
    assert ORDERS.identity_holds(["id"])
    assert not ORDERS.identity_holds(["id", "user_id"])
