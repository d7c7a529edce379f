"""Slots of random keys as Python, compiled and plain, and as Postgres itself computes them."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import TupleRow

from shardrouter.local import LocalFleet
from shardrouter.topology import KeyColumn, KeyType, slot_sql
from tests.support.cluster import Cluster
from tests.support.key_values import random_keys
from tests.support.twins import Twin

KEYS = 20_000
COMPOSITE_KEYS = 10_000
MOST_SLOTS = 16384
MODULI = (64, 4096, MOST_SLOTS)
COMPOSITES: list[tuple[KeyType, ...]] = [
    (KeyType.INT8, KeyType.TEXT),
    (KeyType.UUID, KeyType.INT4),
    (KeyType.TEXT, KeyType.DATE, KeyType.INT8),
    (KeyType.TIMESTAMPTZ, KeyType.INT2, KeyType.VARCHAR, KeyType.UUID),
]

Connection = psycopg.Connection[TupleRow]


@pytest.fixture(scope="module")
def server(local_fleet: LocalFleet) -> Iterator[Connection]:
    with local_fleet.node("s0-p").connect("postgres") as connection:
        yield connection


def columns_of(types: Sequence[KeyType]) -> list[KeyColumn]:
    return [KeyColumn(f"k{number}", key_type) for number, key_type in enumerate(types)]


def count_differences(
    server: Connection, types: Sequence[KeyType], keys: Sequence[list[object]], slots: list[int]
) -> tuple[int, ...]:
    """Give Postgres keys and their slots of 16384; count for each modulus where it disagrees.

    The first half by the SQL expression, the second by what routes rows to hash partitions.
    """
    columns = columns_of(types)
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in columns)
    declared = ", ".join(f"{column.name} {column.type} NOT NULL" for column in columns)
    server.execute("DROP TABLE IF EXISTS pg_temp.parent")
    server.execute(
        f"CREATE TEMP TABLE parent ({declared}) PARTITION BY HASH"
        f" ({', '.join(c.name for c in columns)})".encode()
    )
    tests: list[sql.Composable] = [
        sql.SQL("({expression}) IS DISTINCT FROM (slot & {mask})").format(
            expression=sql.SQL(slot_sql(columns, modulus)), mask=sql.Literal(modulus - 1)
        )
        for modulus in MODULI
    ]
    tests += [
        sql.SQL(
            "NOT satisfies_hash_partition('pg_temp.parent'::regclass, {modulus},"
            " (slot & {mask})::int, {names})"
        ).format(modulus=sql.Literal(modulus), mask=sql.Literal(modulus - 1), names=names)
        for modulus in MODULI
    ]
    query = sql.SQL(
        "SELECT {counts}, count(*) FROM unnest({arrays}) AS given ({names}, slot)"
    ).format(
        counts=sql.SQL(", ").join(sql.SQL("count(*) FILTER (WHERE {})").format(t) for t in tests),
        arrays=sql.SQL(", ").join(
            sql.SQL("{}::{}[]").format(sql.Placeholder(), sql.SQL(name))
            for name in [*map(str, types), "int8"]
        ),
        names=names,
    )
    row = server.execute(query, [*keys, slots]).fetchone()
    assert row is not None
    assert row[-1] == len(slots)
    return row[:-1]


@pytest.mark.parametrize("types", [*((t,) for t in KeyType), *COMPOSITES], ids="-".join)
def test_slots_are_those_of_postgres(
    server: Connection, twin: Twin, types: tuple[KeyType, ...]
) -> None:
    rng = random.Random(f"keys of {types}")
    count = KEYS if len(types) == 1 else COMPOSITE_KEYS
    keys = [random_keys(key_type, count, rng) for key_type in types]
    for column in keys[1:]:
        rng.shuffle(column)  # else the edges of the types would only meet one another
    slots = [twin.keys.slot_of(types, row, MOST_SLOTS) for row in zip(*keys, strict=True)]
    assert not any(count_differences(server, types, keys, slots))
    assert len(set(slots)) > 4096  # they are spread, not all 0


def test_a_wrong_slot_would_be_seen(server: Connection) -> None:
    """The comparison itself: every one of its tests counts a slot that is off by one."""
    assert count_differences(server, [KeyType.INT8], [[42, 42]], [6754, 6755]) == (1,) * 2 * len(
        MODULI
    )


@pytest.mark.parametrize("twice", [KeyType.INT8, KeyType.TEXT, KeyType.UUID])
def test_inferred_keys_are_those_of_postgres(
    server: Connection, twin: Twin, twice: KeyType
) -> None:
    keys = random_keys(twice, 2000, random.Random(7))
    slots = [twin.keys.key_slot(key, MOST_SLOTS) for key in keys]
    assert not any(count_differences(server, [twice], [keys], slots))


@pytest.mark.parametrize("types", [tuple(KeyType)[:4], tuple(KeyType)[4:8], (KeyType.TIMESTAMPTZ,)])
def test_expressions_serve_where_postgres_wants_immutable_ones(
    cluster: Cluster, types: tuple[KeyType, ...]
) -> None:
    """In the row filter of a publication, an index, a generated column and a check."""
    columns = columns_of(types)
    expression = slot_sql(columns, 4096)
    declared = ", ".join(f"{column.name} {column.type} NOT NULL" for column in columns)
    names = ", ".join(column.name for column in columns)
    statements = [
        f"CREATE TABLE t ({declared}, PRIMARY KEY ({names}))",
        f"ALTER TABLE t ADD slot int8 GENERATED ALWAYS AS ({expression}) STORED",
        f"ALTER TABLE t ADD CHECK ({expression} >= 0)",
        f"CREATE INDEX ON t (({expression}))",
        f"CREATE PUBLICATION part FOR TABLE t WHERE ({expression} BETWEEN 0 AND 99)",
    ]
    with cluster.connect("s0-p") as connection:
        for statement in statements:
            connection.execute(statement.encode())
        rows = zip(*(random_keys(t, 10, random.Random(1)) for t in types), strict=True)
        insert = f"INSERT INTO t ({names}) VALUES ({', '.join(['%s'] * len(types))})"
        connection.cursor().executemany(insert.encode(), list(rows))
        found: list[tuple[Any, ...]] = connection.execute(
            f"SELECT slot, {expression} FROM t".encode()
        ).fetchall()
    assert len(found) == 10
    assert all(stored == computed for stored, computed in found)


@pytest.mark.parametrize("key_type", [KeyType.DATE, KeyType.TIMESTAMP, KeyType.TIMESTAMPTZ])
def test_infinity_is_no_date_of_python(server: Connection, key_type: KeyType) -> None:
    """What Postgres does with infinity: a date is refused, timestamps have a slot we never ask."""
    expression = slot_sql([KeyColumn("k", key_type)], 4096)
    query = f"SELECT {expression} FROM (SELECT 'infinity'::{key_type} AS k) AS one".encode()
    if key_type is KeyType.DATE:
        with pytest.raises(psycopg.errors.DatetimeFieldOverflow):
            server.execute(query)
    else:
        assert server.execute(query).fetchone() is not None
