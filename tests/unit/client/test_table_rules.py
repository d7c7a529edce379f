"""Which declared tables can be spread over shards, and what is said of those that cannot."""

from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    Computed,
    DateTime,
    Enum,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    Numeric,
    Sequence,
    SmallInteger,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects import postgresql as pg

from shardrouter.client.installing.column_keys import key_column
from shardrouter.client.installing.table_rules import plan_tables
from shardrouter.errors import UnsupportedSchema
from shardrouter.topology import MARK_KEY, KeyColumn, KeyType, TableKind, TableMark
from shardrouter.topology import Table as Entry

BY_USER = {MARK_KEY: TableMark(TableKind.SHARDED, ("user_id",))}
EVERYWHERE = {MARK_KEY: TableMark(TableKind.REFERENCE)}


def on(shard: str) -> dict[str, TableMark]:
    return {MARK_KEY: TableMark(TableKind.LOCAL, shard=shard)}


def make_id() -> Column[Any]:
    return Column("id", BigInteger, primary_key=True, autoincrement=False)


def user(**options: Any) -> Column[Any]:
    return Column("user_id", options.pop("type", BigInteger), nullable=False, **options)


def orders(metadata: MetaData, *more: Any) -> Table:
    return Table("orders", metadata, make_id(), user(), *more, info=BY_USER)


def refusal(metadata: MetaData) -> UnsupportedSchema:
    with pytest.raises(UnsupportedSchema) as caught:
        plan_tables(metadata)
    assert caught.value.hint
    return caught.value


def test_each_kind_of_table_is_planned() -> None:
    metadata = MetaData()
    orders(metadata)
    Table("countries", metadata, Column("code", Text, primary_key=True), info=EVERYWHERE)
    Table("jobs", metadata, Column("id", Integer, primary_key=True), info=on("s1"), schema="ops")
    plans = plan_tables(metadata)
    assert [plan.entry for plan in plans] == [
        Entry("orders", TableKind.SHARDED, (KeyColumn("user_id", KeyType.INT8),)),
        Entry("countries", TableKind.REFERENCE),
        Entry("jobs", TableKind.LOCAL, shard="s1", schema="ops"),
    ]
    assert [[p.stands_on(s) for s in ("s0", "s1")] for p in plans] == [
        [True, True],
        [True, True],
        [False, True],
    ]


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (SmallInteger(), KeyType.INT2),
        (Integer(), KeyType.INT4),
        (BigInteger(), KeyType.INT8),
        (BigInteger().with_variant(Integer(), "sqlite"), KeyType.INT8),
        (Text(), KeyType.TEXT),
        (String(), KeyType.VARCHAR),
        (String(20, collation="C"), KeyType.VARCHAR),
        (Uuid(), KeyType.UUID),
        (pg.DATE(), KeyType.DATE),
        (DateTime(), KeyType.TIMESTAMP),
        (DateTime(timezone=True), KeyType.TIMESTAMPTZ),
        (pg.TIMESTAMP(timezone=True, precision=6), KeyType.TIMESTAMPTZ),
    ],
)
def test_key_types(declared: Any, expected: KeyType) -> None:
    table = Table("t", MetaData(), Column("key", declared, nullable=False))
    assert key_column(table.c.key) == KeyColumn("key", expected)


class Money(TypeDecorator[int]):
    impl = BigInteger
    cache_ok = True


@pytest.mark.parametrize(
    ("declared", "why"),
    [
        (Numeric(10, 2), "numeric cannot be a shard key"),
        (pg.DOUBLE_PRECISION(), "float8 cannot be a shard key"),
        (pg.ARRAY(Integer), r"integer\[\] cannot be a shard key"),
        (pg.CITEXT(), "citext cannot be a shard key"),
        (pg.CHAR(3), "bpchar cannot be a shard key"),
        (pg.JSONB(), "jsonb cannot be a shard key"),
        (Uuid(native_uuid=False), "bpchar cannot be a shard key"),
        (pg.TIMESTAMP(precision=0), "is rounded when stored"),
        (Enum("a", "b", name="mood"), "stored as another value"),
        (Enum("a", "b", native_enum=False), "stored as another value"),
        (Money(), "stored as another value"),
        (BigInteger().with_variant(Money(), "postgresql"), "stored as another value"),
    ],
)
def test_types_that_cannot_be_keys(declared: Any, why: str) -> None:
    table = Table("t", MetaData(), Column("key", declared, nullable=False))
    with pytest.raises(UnsupportedSchema, match=why):
        key_column(table.c.key)


@pytest.mark.parametrize(
    ("column", "why"),
    [
        (Column("key", BigInteger), "may be NULL"),
        (Column("key", BigInteger, Identity(), nullable=False), "value from the server"),
        (Column("key", BigInteger, Computed("1"), nullable=False), "value from the server"),
        (Column("key", BigInteger, server_default="1", nullable=False), "value from the server"),
        (Column("key", BigInteger, primary_key=True), "value from the server"),
    ],
)
def test_columns_that_cannot_be_keys(column: Column[Any], why: str) -> None:
    table = Table("t", MetaData(), column)
    with pytest.raises(UnsupportedSchema, match=why):
        key_column(table.c.key)


def test_an_unmarked_table_is_told_what_to_do() -> None:
    metadata = MetaData()
    Table("orders", metadata, make_id())
    error = refusal(metadata)
    assert "table orders does not say how it is spread" in error.message
    assert "@sharded(by=" in (error.hint or "")


def test_a_key_that_is_no_column_is_refused() -> None:
    metadata = MetaData()
    Table("orders", metadata, make_id(), info=BY_USER)
    assert "has no column user_id" in refusal(metadata).message


@pytest.mark.parametrize("mark", [BY_USER, EVERYWHERE])
@pytest.mark.parametrize(
    "how",
    [
        lambda: ([], {}),
        lambda: ([Identity()], {}),
        lambda: ([Sequence("ids")], {}),
        lambda: ([], {"server_default": text("nextval('ids')")}),
        lambda: ([], {"server_default": Sequence("ids").next_value()}),
    ],
)
def test_ids_that_each_shard_would_count_are_refused(how: Any, mark: Any) -> None:
    arguments, options = how()
    column = Column("id", BigInteger, *arguments, primary_key=True, **options)
    metadata = MetaData()
    Table("orders", metadata, column, user(), info=mark)
    error = refusal(metadata)
    assert "orders.id is counted by each shard" in error.message
    assert "autoincrement=False" in (error.hint or "")


@pytest.mark.parametrize("kind", [BigInteger, Uuid])
def test_a_single_id_made_by_us_needs_no_key_in_it(kind: Any) -> None:
    metadata = MetaData()
    column = Column("id", kind, primary_key=True, autoincrement=False)
    Table("orders", metadata, column, user(), info=BY_USER)
    assert len(plan_tables(metadata)) == 1


def test_an_id_from_the_server_that_is_random_is_fine() -> None:
    metadata = MetaData()
    column = Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid())
    Table("orders", metadata, column, user(), info=BY_USER)
    assert len(plan_tables(metadata)) == 1


@pytest.mark.parametrize(
    ("columns", "hint"),
    [
        ({"id": Integer}, "make it a BigInteger"),
        ({"code": Text}, "make it a BigInteger"),
        ({"a": BigInteger, "b": BigInteger}, "add user_id to the primary key"),
    ],
)
def test_other_primary_keys_need_the_key_in_them(columns: dict[str, Any], hint: str) -> None:
    def declare(**options: Any) -> MetaData:
        metadata = MetaData()
        given = [
            Column(name, kind, primary_key=True, autoincrement=False)
            for name, kind in columns.items()
        ]
        Table("orders", metadata, *given, user(**options), info=BY_USER)
        return metadata

    error = refusal(declare())
    assert "is not unique over all shards" in error.message
    assert hint in (error.hint or "")
    assert len(plan_tables(declare(primary_key=True))) == 1


def test_a_table_without_primary_key_is_refused() -> None:
    metadata = MetaData()
    Table("orders", metadata, user(), info=BY_USER)
    assert "has no primary key" in refusal(metadata).message


def test_a_partitioned_table_needs_the_key_in_its_primary_key() -> None:
    metadata = MetaData()
    options = {"postgresql_partition_by": "RANGE (id)"}
    Table("orders", metadata, make_id(), user(), info=BY_USER, **options)
    assert "partitions inherit no other identity" in (refusal(metadata).hint or "")


PER_SHARD = {"shardrouter_unique": "per-shard"}


@pytest.mark.parametrize(
    ("rule", "is_fine"),
    [
        (UniqueConstraint("email"), False),
        (UniqueConstraint("user_id", "email"), True),
        (UniqueConstraint("email", info=PER_SHARD), True),
        (Index("ix", "email", unique=True), False),
        (Index("ix", "email", "user_id", unique=True), True),
        (Index("ix", "email", unique=True, info=PER_SHARD), True),
        (Index("ix", text("lower(email)"), unique=True), False),
        (Index("ix", "email"), True),
        (pg.ExcludeConstraint(("email", "=")), False),
        (pg.ExcludeConstraint(("user_id", "<>"), ("email", "=")), False),
        (pg.ExcludeConstraint(("user_id", "="), ("email", "=")), True),
    ],
)
def test_unique_rules(rule: Any, is_fine: bool) -> None:
    metadata = MetaData()
    orders(metadata, Column("email", Text), rule)
    if is_fine:
        assert len(plan_tables(metadata)) == 1
        return
    error = refusal(metadata)
    assert "cannot be kept over all shards" in error.message
    assert "add user_id to it" in (error.hint or "")
    assert "per-shard" in (error.hint or "")


def test_a_unique_column_is_a_unique_rule() -> None:
    metadata = MetaData()
    orders(metadata, Column("email", Text, unique=True))
    assert "(email) of orders" in refusal(metadata).message


def items(metadata: MetaData, *rules: Any, **columns: Any) -> Table:
    order_id = Column("order_id", BigInteger)
    return Table("items", metadata, make_id(), user(**columns), order_id, *rules, info=BY_USER)


def test_foreign_keys_between_sharded_tables_carry_the_shard_key() -> None:
    metadata = MetaData()
    orders(metadata)
    together = ["order_id", "user_id"], ["orders.id", "orders.user_id"]
    items(metadata, ForeignKeyConstraint(*together))
    assert len(plan_tables(metadata)) == 2


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (["order_id"], ["orders.id"]),
        (["order_id", "user_id"], ["orders.user_id", "orders.id"]),
    ],
)
def test_other_foreign_keys_between_sharded_tables_are_refused(
    ours: list[str], theirs: list[str]
) -> None:
    metadata = MetaData()
    orders(metadata)
    items(metadata, ForeignKeyConstraint(ours, theirs))
    error = refusal(metadata)
    assert f"items ({', '.join(ours)}) cannot refer to orders" in error.message
    assert "pairs the shard keys (user_id) and (user_id)" in (error.hint or "")


@pytest.mark.parametrize(("kind", "is_fine"), [(Integer, True), (Text, False)])
def test_the_paired_keys_hash_alike(kind: Any, is_fine: bool) -> None:
    metadata = MetaData()
    orders(metadata)
    together = ["order_id", "user_id"], ["orders.id", "orders.user_id"]
    items(metadata, ForeignKeyConstraint(*together), type=kind)
    if is_fine:
        assert len(plan_tables(metadata)) == 2
    else:
        assert "text and int8 hash differently" in refusal(metadata).message


@pytest.mark.parametrize(
    ("ours", "theirs", "is_fine"),
    [
        (BY_USER, EVERYWHERE, True),
        (EVERYWHERE, EVERYWHERE, True),
        (on("s0"), EVERYWHERE, True),
        (on("s0"), on("s0"), True),
        (on("s0"), on("s1"), False),
        (EVERYWHERE, BY_USER, False),
        (EVERYWHERE, on("s0"), False),
        (BY_USER, on("s0"), False),
        (on("s0"), BY_USER, False),
    ],
)
def test_foreign_keys_between_kinds(ours: Any, theirs: Any, is_fine: bool) -> None:
    metadata = MetaData()
    Table("target", metadata, make_id(), user(), info=theirs)
    refers = Column("target_id", BigInteger, ForeignKey("target.id"))
    Table("source", metadata, make_id(), user(), refers, info=ours)
    if is_fine:
        assert len(plan_tables(metadata)) == 2
    else:
        assert "source (target_id) cannot refer to target" in refusal(metadata).message


def test_a_foreign_key_out_of_the_metadata_is_refused() -> None:
    metadata = MetaData()
    orders(metadata, Column("x", BigInteger, ForeignKey("elsewhere.id")))
    assert "names an unknown table" in refusal(metadata).message


def test_all_problems_are_told_at_once() -> None:
    metadata = MetaData()
    Table("unmarked", metadata, make_id())
    Table("orders", metadata, Column("id", BigInteger, primary_key=True), user(), info=BY_USER)
    orders_again = Column("email", Text, unique=True)
    Table("users", metadata, make_id(), user(), orders_again, info=BY_USER)
    message = refusal(metadata).message
    assert message.startswith("3 things keep these tables")
    assert message.count("\n- ") == 3
    for part in ("unmarked", "orders.id", "(email) of users"):
        assert part in message
