"""The text of a guard: names, bitmap, quoting."""

import re

import pytest

from shardrouter.postgres import Guard, guard_sql
from shardrouter.topology import (
    Epoch,
    KeyColumn,
    KeyType,
    Node,
    NodeId,
    Role,
    Shard,
    ShardId,
    Slot,
    Table,
    TableKind,
    Topology,
)

S0, S1 = ShardId("s0"), ShardId("s1")


def table(name: str = "orders", schema: str = "public", key: str = "user_id") -> Table:
    return Table(name, TableKind.SHARDED, (KeyColumn(key, KeyType.INT8),), schema=schema)


def guard(of: Table | None = None, owned: tuple[int, ...] = (0,), epoch: int = 3) -> Guard:
    return Guard(of or table(), S0, Epoch(epoch), 16, tuple(Slot(slot) for slot in owned))


def test_the_bitmap_counts_from_the_lowest_bit_of_each_byte() -> None:
    condition = guard(owned=(0, 3, 8)).is_owned_sql()
    assert r"get_bit(E'\\x0901'::pg_catalog.bytea" in condition


def test_the_owned_slots_are_those_of_the_topology() -> None:
    shards = tuple(Shard(s, (Node(NodeId(f"{s}-p"), Role.PRIMARY, ""),)) for s in (S0, S1))
    owners = tuple(S0 if slot % 3 == 0 else S1 for slot in range(64))
    topology = Topology(Epoch(7), shards, owners, (table(),))
    made = Guard.of(table(), topology, S0)
    assert made.owned == tuple(range(0, 64, 3))
    assert (made.epoch, made.slots, made.shard) == (7, 64, S0)
    script = guard_sql(table(), topology, S0)
    assert "CREATE OR REPLACE TRIGGER zzz_shardrouter_guard BEFORE INSERT OR UPDATE" in script


@pytest.mark.parametrize("change", [{"owned": (1,)}, {"epoch": 4}, {"of": table(key="id")}])
def test_different_guards_have_different_bodies(change: dict[str, object]) -> None:
    assert guard().body() == guard().body()
    assert guard().body() != guard(**change).body()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "tables",
    [
        (table("b_c", "a"), table("c", "a_b")),
        (table("Orders"), table("orders")),
        (table("o rders"), table("o_rders")),
        (table("x" * 60), table("x" * 59 + "y")),
        (table("заказы"), table("товары")),
    ],
)
def test_function_names_are_safe_and_never_collide(tables: tuple[Table, Table]) -> None:
    first, second = (guard(of).function_name for of in tables)
    assert first != second
    for name in (first, second):
        assert re.fullmatch(r"guard_[a-z0-9_]{1,57}", name)


@pytest.mark.parametrize("name", ["$guard$", "$guard_$ and $guard$", "it's", "back\\slash"])
def test_no_name_ends_the_quoting_of_the_body(name: str) -> None:
    made = guard(table(name))
    function, _ = made.install_sql()
    quote = re.search(r" AS (\$guard_*\$)", function)
    assert quote is not None
    assert function.count(quote[1]) == 2
    assert function.endswith(quote[1])


def test_a_name_with_a_line_break_stays_inside_the_comment() -> None:
    body = guard(table("orders\nBEGIN RETURN NEW; END\n--")).body()
    assert body.splitlines()[2] == "BEGIN"
    assert body.splitlines()[1].startswith("-- Written by shardrouter for public.orders BEGIN")
