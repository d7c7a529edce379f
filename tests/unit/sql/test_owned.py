"""The condition that leaves foreign rows out: on which table, for which shards, or a refusal."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import BigInteger, Column, MetaData, Select, Table, and_, func, select
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.orm import aliased, joinedload

from shardrouter.client.gathering.plans import GatherPlans
from shardrouter.errors import CrossShardUnsupported
from shardrouter.sql import OWNED, OneShardSplit, OwnRows, Query, RowsSplit
from shardrouter.sql.split import split
from shardrouter.topology import (
    MARK_KEY,
    KeyColumn,
    KeyType,
    ShardId,
    TableKind,
    TableMark,
    Topology,
    key_slot,
    slot_sql_of,
)
from shardrouter.topology import Table as Entry
from tests.support.gather_motions import moving
from tests.support.gather_tables import Kind, Note, Part, Thing

T, P = Thing, Part
G0, G1, G2 = ShardId("g0"), ShardId("g1"), ShardId("g2")
MOVING = moving([G0, G1, G2])
OWN = OwnRows(MOVING)


def sent(statement: Select[Any], own: OwnRows = OWN, **schemas: str) -> str:
    """Return the SQL that shards are sent, shortened: SLOT(key) for the slot of a key."""
    how = split(statement, (), own, {None: schemas.get("none")} if schemas else {}).how
    assert isinstance(how, RowsSplit)
    query = how.scatter(None, as_text=False).statement
    dialect: Any = PGDialect_psycopg
    text = str(query.compile(dialect=dialect(paramstyle="numeric_dollar")))
    text = " ".join(text.split())
    for key in ("thing.uid", "thing_1.uid", "part.owner", "part_1.owner"):
        text = text.replace(slot_sql_of([(key, KeyType.INT4)], MOVING.slots), f"SLOT({key})")
    return text.partition(" WHERE ")[2].partition(" LIMIT ")[0]


def owned(*keys: str) -> str:
    slots = [f"SLOT({key})" for key in keys]
    slot = slots[0] if len(slots) == 1 else f"coalesce({', '.join(slots)})"
    return f"(coalesce(pg_catalog.get_bit(CAST($1 AS bytea), {slot}), 1) = 1)"


other, part = aliased(T), aliased(P)
ON = P.owner == T.uid


@pytest.mark.parametrize(
    ("statement", "keys"),
    [
        (select(T.id), ("thing.uid",)),
        (select(T), ("thing.uid",)),
        (select(other), ("thing_1.uid",)),
        (select(T.id, other.id).join(other, other.uid == T.uid), ("thing.uid",)),
        (select(T.id).join(P, ON), ("thing.uid",)),
        (select(T.id).join(P, ON, isouter=True), ("thing.uid",)),
        (select(P.id).join(T, ON, isouter=True), ("part.owner",)),
        (select(T.id, part.id).join(part, part.owner == T.uid, full=True), None),
        (select(Kind.id, T.id).join(T, T.kind_id == Kind.id), ("thing.uid",)),
        (select(T).options(joinedload(T.kind)), ("thing.uid",)),
    ],
)
def test_one_table_tells_for_the_rows_of_a_join(
    statement: Select[Any], keys: tuple[str, ...] | None
) -> None:
    assert sent(statement) == owned(*(keys or ("thing.uid", "part_1.owner")))


def test_the_conditions_of_the_statement_stay() -> None:
    assert sent(select(T.id).where(T.uid == P.owner, T.i4.is_(None))) == (
        f"thing.uid = part.owner AND thing.i4 IS NULL AND {owned('thing.uid')}"
    )


def test_tables_that_are_not_spread_are_asked_as_ever() -> None:
    for statement in (select(Kind.id), select(Note.id)):
        how = split(statement, (), OWN).how
        assert isinstance(how, OneShardSplit)
        assert OWNED not in str(how.statement)


def test_bits_are_for_shards_with_foreign_rows() -> None:
    for uid in range(9):
        slot = key_slot(uid, MOVING.slots)
        owner = MOVING.owner(slot).id
        for shard in (G0, G1, G2):
            bits = OWN.bits(shard)
            assert bits is not None
            assert (bits[slot // 8] >> slot % 8 & 1 == 1) is (owner == shard)
    assert OwnRows(replace(MOVING, motions=MOVING.motions[:1])).bits(G2) is None


def test_text_is_one_for_all_shards_and_the_value_is_needed() -> None:
    how = split(select(T.id), (), OWN).how
    assert isinstance(how, RowsSplit)
    query = Query(how.scatter(None, as_text=False).statement)
    text, values = query.bind({OWNED: b"x", "sr_limit": 1})
    assert (text, values) != query.bind({OWNED: None, "sr_limit": 1})
    assert text == query.bind({OWNED: None, "sr_limit": 1})[0]
    with pytest.raises(Exception, match=OWNED):  # not sent without it, as if no row were foreign
        query.bind({"sr_limit": 1})


def test_plans_for_moving_slots_are_kept_beside_those_at_rest() -> None:
    plans = GatherPlans()
    query = select(T.uid, func.count()).group_by(T.uid).having(func.count() > 1)
    at_rest = plans.plan(query, {})[0]
    in_motion = plans.plan(query, {}, OWN)[0]
    later = OwnRows(replace(MOVING, motions=MOVING.motions[:2]))
    assert in_motion is not at_rest
    assert plans.plan(query, {})[0] is at_rest
    assert plans.plan(query, {}, OWN)[0] is plans.plan(query, {}, later)[0] is in_motion


def test_tables_that_are_not_registered_are_refused_while_slots_move() -> None:
    for tables in ((), (replace(MOVING.tables[0], key=(KeyColumn("id", KeyType.INT8),)),)):
        with pytest.raises(CrossShardUnsupported, match="thing while slots move") as refused:
            split(select(T.id), (), OwnRows(replace(MOVING, tables=tables)))
        assert "shardrouter table add" in str(refused.value)


def test_the_registered_table_is_found_by_schema_translation_or_search_path() -> None:
    elsewhere = replace(MOVING, tables=(replace(MOVING.tables[0], schema="app"),))
    for schemas in ({}, {"none": "app"}):
        assert sent(select(T.id), OwnRows(elsewhere), **schemas) == owned("thing.uid")
    with pytest.raises(CrossShardUnsupported):
        sent(select(T.id), OwnRows(elsewhere), none="other")


def test_composite_keys_and_column_names() -> None:
    table = Table(
        "pair",
        MetaData(),
        Column("b", BigInteger, key="second"),
        Column("A", BigInteger, key="first"),
        info={MARK_KEY: TableMark(TableKind.SHARDED, ("first", "second"))},
    )
    key = (KeyColumn("A", KeyType.INT8), KeyColumn("b", KeyType.INT8))
    topology: Topology = replace(MOVING, tables=(Entry("pair", TableKind.SHARDED, key),))
    slot = slot_sql_of([('pair."A"', KeyType.INT8), ("pair.b", KeyType.INT8)], topology.slots)
    assert slot in sent(select(table.c.first).where(and_(table.c.first == 1)), OwnRows(topology))
