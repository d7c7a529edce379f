"""``shardrouter table``: the registry, what is compared with real tables, and the guards."""

from collections.abc import Callable

import psycopg
import pytest

from shardrouter.catalog import CatalogStore
from shardrouter.topology import KeyColumn, KeyType, Table, TableKind, Topology, key_slot
from tests.integration.cli.conftest import Run
from tests.support.cluster import Cluster

ORDERS = "CREATE TABLE orders (id bigint PRIMARY KEY, user_id bigint NOT NULL)"


@pytest.fixture
def everywhere(cluster: Cluster) -> Callable[[str], None]:
    """Run a statement on both primaries."""

    def run(statement: str) -> None:
        for node in ("s0-p", "s1-p"):
            with cluster.connect(node) as connection:
                connection.execute(statement.encode())

    return run


def key_of(topology: Topology, shard: str) -> int:
    return next(
        key for key in range(1000) if topology.owner(key_slot(key, topology.slots)).id == shard
    )


def insert(cluster: Cluster, shard: str, key: int) -> None:
    with cluster.connect(f"{shard}-p") as connection:
        connection.execute("INSERT INTO orders VALUES (%s, %s)", (key, key))


@pytest.mark.parametrize(
    ("arguments", "table"),
    [
        (
            ("Orders", "--key", "User_Id:bigint, day:date"),
            Table(
                "orders",
                TableKind.SHARDED,
                (KeyColumn("user_id", KeyType.INT8), KeyColumn("day", KeyType.DATE)),
            ),
        ),
        (
            ('app."Odd ""One"', "--key", '"Key":uuid'),
            Table('Odd "One', TableKind.SHARDED, (KeyColumn("Key", KeyType.UUID),), schema="app"),
        ),
        (("countries", "--reference"), Table("countries", TableKind.REFERENCE)),
        (("audit", "--local", "s1"), Table("audit", TableKind.LOCAL, shard="s1")),  # type: ignore[arg-type]
    ],
)
def test_registers_tables_that_do_not_exist_yet(
    two_shards: Run, store_now: CatalogStore, arguments: tuple[str, ...], table: Table
) -> None:
    said = two_shards("table", "add", *arguments)
    assert said.code == 0, said.err
    assert store_now.load().tables == (table,)
    assert "does not exist yet on" in said.err
    again = two_shards("table", "add", *arguments, "-o", "json").data
    assert (again["published"], again["epoch"], again["changes"]) == (False, 3, [])


@pytest.mark.parametrize(
    "arguments",
    [
        ("orders",),
        ("orders", "--reference", "--key", "id:int8"),
        ("orders", "--key", "id"),
        ("orders", "--key", "id:float8"),
        ("orders", "--key", "a.b:int8"),
        ("a.b.c", "--reference"),
        ("no name", "--reference"),
        ("x" * 64, "--reference"),
    ],
)
def test_wrong_usage(two_shards: Run, arguments: tuple[str, ...]) -> None:
    assert two_shards("table", "add", *arguments).code == 2


def test_refusals(two_shards: Run, store_now: CatalogStore) -> None:
    assert two_shards("table", "add", "orders", "--key", "user_id:int8").code == 0
    said = two_shards("table", "add", "orders", "--reference")
    assert said.code == 1
    assert "is registered already, as sharded by user_id:int8" in said.err
    assert two_shards("table", "add", "audit", "--local", "s9").code == 1
    five = ",".join(f"c{n}:int8" for n in range(5))
    too_many = two_shards("table", "add", "wide", "--key", five)
    assert (too_many.code, "1 to 4 columns" in too_many.err) == (1, True)
    twice = two_shards("table", "add", "wide", "--key", "a:int8,a:int8")
    assert (twice.code, "names a column twice" in twice.err) == (1, True)
    assert store_now.epoch() == 3


def test_fleet_without_shards(founded: Run) -> None:
    said = founded("table", "add", "orders", "--reference")
    assert said.code == 1
    assert "the fleet has no shards yet" in said.err


def test_existing_table_is_guarded(
    two_shards: Run,
    store_now: CatalogStore,
    cluster: Cluster,
    everywhere: Callable[[str], None],
) -> None:
    everywhere(ORDERS)
    dry = two_shards("table", "add", "orders", "--key", "user_id:int8", "--dry-run")
    assert dry.code == 0
    topology = store_now.load()
    home, stranger = key_of(topology, "s0"), key_of(topology, "s1")
    said = two_shards("table", "add", "orders", "--key", "user_id:int8")
    assert (said.code, said.err) == (0, "")
    insert(cluster, "s0", home)
    with pytest.raises(psycopg.Error) as caught:
        insert(cluster, "s0", stranger)
    assert caught.value.sqlstate == "SR001"


def test_registering_again_puts_missing_guards_in_place(
    two_shards: Run,
    store_now: CatalogStore,
    cluster: Cluster,
    everywhere: Callable[[str], None],
) -> None:
    add = ("table", "add", "orders", "--key", "user_id:int8")
    assert "does not exist yet on s0, s1" in two_shards(*add).err
    everywhere(ORDERS)
    assert two_shards(*add).code == 0
    with pytest.raises(psycopg.Error) as caught:
        insert(cluster, "s1", key_of(store_now.load(), "s0"))
    assert caught.value.sqlstate == "SR001"


def test_other_key_type_than_the_column_has(
    two_shards: Run, store_now: CatalogStore, everywhere: Callable[[str], None]
) -> None:
    everywhere(ORDERS)
    said = two_shards("table", "add", "orders", "--key", "user_id:int4")
    assert said.code == 1
    assert "the key columns of public.orders are user_id:int8" in said.err
    assert "--key user_id:int8" in said.err
    assert two_shards("table", "add", "orders", "--key", "nobody:int8").code == 1
    assert store_now.epoch() == 2


def test_rows_of_another_shard(
    two_shards: Run,
    store_now: CatalogStore,
    cluster: Cluster,
    everywhere: Callable[[str], None],
) -> None:
    everywhere(ORDERS)
    insert(cluster, "s0", key_of(store_now.load(), "s1"))
    said = two_shards("table", "add", "orders", "--key", "user_id:int8")
    assert said.code == 1
    assert "holds rows that this shard does not own [shard s0" in said.err
    assert store_now.epoch() == 2


def test_list(two_shards: Run) -> None:
    assert "no tables yet" in two_shards("table", "list").out
    two_shards("table", "add", "orders", "--key", "user_id:int8,day:date")
    two_shards("table", "add", "audit", "--local", "s1")
    assert two_shards("table", "list", "-o", "json").data == [
        {
            "table": "public.orders",
            "kind": "sharded",
            "key": "user_id:int8,day:date",
            "shard": None,
        },
        {"table": "public.audit", "kind": "local", "key": None, "shard": "s1"},
    ]
