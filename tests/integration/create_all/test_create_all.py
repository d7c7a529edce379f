"""create_all on a real fleet: tables, guards and the registry arrive together, or can be mended."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    ForeignKeyConstraint,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
)
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.pool import NullPool

from shardrouter.catalog import CatalogStore, catalog_engine
from shardrouter.client.installing.install import Tools, create_all
from shardrouter.client.runtime import ThreadRuntime
from shardrouter.errors import ScatterFailed, StaleEpoch, UnsupportedSchema
from shardrouter.postgres import Patience, check_guards, read_table
from shardrouter.topology import MARK_KEY, ShardId, TableKind, TableMark, Topology
from tests.support.cluster import Cluster
from tests.support.guarded import keys_of

BY_USER = {MARK_KEY: TableMark(TableKind.SHARDED, ("user_id",))}
EVERYWHERE = {MARK_KEY: TableMark(TableKind.REFERENCE)}
S0 = {MARK_KEY: TableMark(TableKind.LOCAL, shard="s0")}


def declared(*more: Any, schema: str | None = None) -> MetaData:
    """Return orders and their items, countries, and jobs of one shard."""
    metadata = MetaData(schema=schema)
    prefix = f"{schema}." if schema else ""
    Table(
        "items",
        metadata,
        Column("id", BigInteger, primary_key=True, autoincrement=False),
        Column("user_id", BigInteger, nullable=False),
        Column("order_id", BigInteger),
        ForeignKeyConstraint(
            ["user_id", "order_id"], [f"{prefix}orders.user_id", f"{prefix}orders.id"]
        ),
        info=BY_USER,
    )
    Table(
        "orders",
        metadata,
        Column("id", BigInteger, primary_key=True, autoincrement=False),
        Column("user_id", BigInteger, nullable=False),
        Column("state", pg.ENUM("new", "paid", name="state", metadata=metadata)),
        *more,
        info=BY_USER,
    )
    Table("countries", metadata, Column("code", Text, primary_key=True), info=EVERYWHERE)
    Table("jobs", metadata, Column("id", BigInteger, primary_key=True), info=S0)
    return metadata


class Fleet:
    """What create_all works with, on a test's databases."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.catalog = catalog_engine(cluster.catalog_dsn)
        self.store = CatalogStore(self.catalog)
        self.runtime = ThreadRuntime(4)
        self.engines = {
            shard: create_engine(
                cluster.dsn(f"{shard}-p").replace("postgresql:", "postgresql+psycopg:"),
                poolclass=NullPool,
            )
            for shard in ("s0", "s1")
        }

    def tools(self, **changes: Any) -> Tools:
        tools = Tools(self.store, lambda shard: self.engines[shard].connect(), self.runtime.fan_out)
        return replace(tools, **changes)

    def create_all(self, metadata: MetaData, **changes: Any) -> Topology:
        return create_all(metadata, self.tools(**changes), actor="test")

    def check(self, shard: str) -> list[str]:
        with self.engines[shard].connect() as connection:
            reports = check_guards(connection, self.store.load(), ShardId(shard))
            return [f"{report.table} {report.state}" for report in reports]

    def run(self, shard: str, statement: str) -> Any:
        with self.cluster.connect(f"{shard}-p") as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else None


@pytest.fixture
def fleet(cluster: Cluster) -> Iterator[Fleet]:
    made = Fleet(cluster)
    yield made
    made.runtime.close()
    made.catalog.dispose()
    for engine in made.engines.values():
        engine.dispose()


def test_tables_are_made_guarded_and_registered(fleet: Fleet) -> None:
    before = fleet.store.load()
    made = fleet.create_all(declared())
    assert made == fleet.store.load()
    assert made.epoch == before.epoch + 1
    assert {(t.full_name, t.kind, t.shard) for t in made.tables} == {
        ("public.orders", TableKind.SHARDED, None),
        ("public.items", TableKind.SHARDED, None),
        ("public.countries", TableKind.REFERENCE, None),
        ("public.jobs", TableKind.LOCAL, "s0"),
    }
    for shard in ("s0", "s1"):
        assert fleet.check(shard) == ["public.items ok", "public.orders ok"]
        assert fleet.run(shard, "SELECT to_regclass('countries')::text") == [("countries",)]
    assert fleet.run("s0", "SELECT to_regclass('jobs')::text") == [("jobs",)]
    assert fleet.run("s1", "SELECT to_regclass('jobs')::text") == [(None,)]
    stranger = keys_of(made, "s1", 1)[0]
    with pytest.raises(psycopg.Error, match="does not own slot"):
        fleet.run("s0", f"INSERT INTO orders VALUES (1, {stranger}, 'new')")


def test_rows_can_be_replicated_by_their_key(fleet: Fleet) -> None:
    made = fleet.create_all(declared())
    with fleet.engines["s0"].connect() as connection:
        facts = read_table(connection, "public", "orders")
    assert facts is not None
    assert facts.identity_holds(["id", "user_id"])
    mine = keys_of(made, "s0", 1)[0]
    fleet.run("s0", "CREATE PUBLICATION p FOR TABLE orders WHERE (user_id > 0)")
    fleet.run("s0", f"INSERT INTO orders VALUES (1, {mine}, 'new')")
    fleet.run("s0", "UPDATE orders SET state = 'paid'")  # refused where the identity lacks the key
    fleet.run("s0", "DELETE FROM orders")


def test_running_again_changes_nothing(fleet: Fleet) -> None:
    first = fleet.create_all(declared())
    assert fleet.create_all(declared()) == first
    assert len(fleet.store.history()) == 2


def test_more_tables_join_those_that_are_registered(fleet: Fleet) -> None:
    fleet.create_all(declared())
    metadata = declared()
    Table("notes", metadata, Column("user_id", BigInteger, primary_key=True), info=EVERYWHERE)
    metadata.tables["notes"].c.user_id.autoincrement = False
    after = fleet.create_all(metadata)
    assert [table.name for table in after.tables][-1] == "notes"
    assert len(after.tables) == 5


def test_another_schema_is_made_too(fleet: Fleet) -> None:
    made = fleet.create_all(declared(schema="Sales"))
    assert made.table("Sales.orders") is not None
    assert fleet.check("s1") == ["Sales.items ok", "Sales.orders ok"]


def test_a_failing_shard_is_named_and_mended_by_running_again(fleet: Fleet) -> None:
    fleet.run("s1", "CREATE SEQUENCE countries")
    with pytest.raises(ScatterFailed) as caught:
        fleet.create_all(declared())
    assert "made on s0, not on s1" in caught.value.message
    assert "run it again" in (caught.value.hint or "")
    assert fleet.store.load().tables == ()
    assert fleet.run("s1", "SELECT to_regclass('orders')::text") == [(None,)]  # all or nothing
    fleet.run("s1", "DROP SEQUENCE countries")
    assert len(fleet.create_all(declared()).tables) == 4
    assert fleet.check("s1") == ["public.items ok", "public.orders ok"]


def test_an_unreachable_shard_is_named(fleet: Fleet) -> None:
    def connect(shard: ShardId) -> Connection:
        if shard == "s1":
            raise psycopg.OperationalError("connection refused\nmore")
        return fleet.engines[shard].connect()

    with pytest.raises(ScatterFailed, match=r"not on s1 \(s1: connection refused\)"):
        fleet.create_all(declared(), connect=connect)


@pytest.mark.parametrize(
    ("standing", "told"),
    [
        ("id bigint PRIMARY KEY, user_id bigint NOT NULL", "orders.state is missing"),
        (
            "id bigint PRIMARY KEY, user_id bigint NOT NULL, state state, x int",
            "orders.x is not declared",
        ),
        (
            "id bigint PRIMARY KEY, user_id integer NOT NULL, state state",
            "orders.user_id is INTEGER, declared BIGINT",
        ),
        (
            "id bigint PRIMARY KEY, user_id bigint, state state",
            "orders.user_id may be NULL",
        ),
        (
            "id bigint, user_id bigint NOT NULL, state state, PRIMARY KEY (id, user_id)",
            "orders has the primary key (id, user_id), not (id)",
        ),
    ],
)
def test_a_table_that_differs_is_refused(fleet: Fleet, standing: str, told: str) -> None:
    fleet.run("s1", "CREATE TYPE state AS ENUM ('new', 'paid')")
    fleet.run("s1", f"CREATE TABLE orders ({standing})")
    with pytest.raises(UnsupportedSchema) as caught:
        fleet.create_all(declared())
    assert told in caught.value.message
    assert "not on s1" in caught.value.message
    assert "shardrouter migrate" in (caught.value.hint or "")


def test_a_sound_table_that_stands_is_adopted(fleet: Fleet) -> None:
    mine = keys_of(fleet.store.load(), "s0", 1)[0]
    fleet.run("s0", "CREATE TYPE state AS ENUM ('new', 'paid')")
    fleet.run(
        "s0",
        "CREATE TABLE orders (id bigint PRIMARY KEY, user_id bigint NOT NULL, state state);"
        f" INSERT INTO orders VALUES (1, {mine});"
        "CREATE UNIQUE INDEX i ON orders (id, user_id);"
        "ALTER TABLE orders REPLICA IDENTITY USING INDEX i",
    )
    assert len(fleet.create_all(declared()).tables) == 4
    assert fleet.check("s0") == ["public.items ok", "public.orders ok"]


def test_rows_of_other_shards_in_a_table_that_stands_are_refused(fleet: Fleet) -> None:
    stranger = keys_of(fleet.store.load(), "s1", 1)[0]
    metadata = MetaData()
    key = Column("user_id", BigInteger, primary_key=True, autoincrement=False)
    Table("users", metadata, key, info=BY_USER)
    create = (
        f"CREATE TABLE users (user_id bigint PRIMARY KEY); INSERT INTO users VALUES ({stranger})"
    )
    fleet.run("s0", create)
    for _ in range(2):  # the guard that stands after the first time does not hide the rows
        with pytest.raises(UnsupportedSchema, match="holds rows of slots"):
            fleet.create_all(metadata)
    assert fleet.store.load().tables == ()


def test_a_table_with_rows_and_no_fit_identity_gets_the_statements(fleet: Fleet) -> None:
    mine = keys_of(fleet.store.load(), "s0", 1)[0]
    fleet.run("s0", "CREATE TYPE state AS ENUM ('new', 'paid')")
    create = "CREATE TABLE orders (id bigint PRIMARY KEY, user_id bigint NOT NULL, state state)"
    fleet.run("s0", f"{create}; INSERT INTO orders VALUES (1, {mine})")
    with pytest.raises(UnsupportedSchema) as caught:
        fleet.create_all(declared())
    assert "CREATE UNIQUE INDEX CONCURRENTLY" in (caught.value.hint or "")


def test_a_nondeterministic_collation_is_refused_by_the_server(fleet: Fleet) -> None:
    loose = "CREATE COLLATION loose (provider = icu, locale = 'und', deterministic = false)"
    for shard in ("s0", "s1"):
        try:
            fleet.run(shard, loose)
        except psycopg.errors.FeatureNotSupported:
            pytest.skip("this Postgres is built without ICU")
    metadata = MetaData()
    key = Column("name", Text(collation="loose"), primary_key=True)
    Table("users", metadata, key, info={MARK_KEY: TableMark(TableKind.SHARDED, ("name",))})
    with pytest.raises(UnsupportedSchema, match="nondeterministic collation"):
        fleet.create_all(metadata)
    assert fleet.run("s0", "SELECT to_regclass('users')::text") == [(None,)]


def test_a_table_registered_otherwise_is_refused(fleet: Fleet) -> None:
    fleet.create_all(declared())
    metadata = declared()
    metadata.tables["orders"].info = EVERYWHERE
    metadata.remove(metadata.tables["items"])
    with pytest.raises(UnsupportedSchema, match="registered as sharded by user_id int8, declared"):
        fleet.create_all(metadata)


def test_slots_that_move_meanwhile_get_guards_of_their_new_owner(fleet: Fleet) -> None:
    moved = keys_of(fleet.store.load(), "s0", 1)[0]

    class Racing:
        """Lets somebody else publish once, between our guards and our publication."""

        def __init__(self) -> None:
            self.races = 1

        def load(self) -> Topology:
            return fleet.store.load()

        def publish(self, new: Topology, **how: Any) -> None:
            if self.races:
                self.races -= 1
                now = fleet.store.load()
                owners = tuple(ShardId("s1") for _ in now.owners)
                after = now.next(owners=owners)
                fleet.store.publish(after, expected=now.epoch, actor="mover", reason="all to s1")
            fleet.store.publish(new, **how)

    made = fleet.create_all(declared(), store=Racing())
    assert made.table("public.orders") is not None
    assert fleet.check("s0") == fleet.check("s1") == ["public.items ok", "public.orders ok"]
    with pytest.raises(psycopg.Error, match="s0 does not own slot"):
        fleet.run("s0", f"INSERT INTO orders VALUES (1, {moved}, 'new')")
    fleet.run("s1", f"INSERT INTO orders VALUES (1, {moved}, 'new')")


def test_a_catalog_that_never_stands_still_is_given_up(fleet: Fleet) -> None:
    class Busy:
        def load(self) -> Topology:
            return fleet.store.load()

        def publish(self, new: Topology, **how: Any) -> None:
            raise StaleEpoch("somebody was first", hint="again")

    pauses: list[float] = []
    with pytest.raises(StaleEpoch):
        fleet.create_all(declared(), store=Busy(), sleep=pauses.append)
    assert len(pauses) == 4


def test_two_at_once_agree(fleet: Fleet) -> None:
    outcomes: list[Any] = []

    def run() -> None:
        try:
            outcomes.append(fleet.create_all(declared()))
        except Exception as error:
            outcomes.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=40)
    assert [outcome for outcome in outcomes if isinstance(outcome, Exception)] == []
    assert len(fleet.store.load().tables) == 4
    assert fleet.check("s0") == ["public.items ok", "public.orders ok"]


def test_a_locked_table_is_waited_for_and_then_named(fleet: Fleet) -> None:
    fleet.create_all(declared())
    patience = Patience(first_ms=10, longest_ms=10, pause_seconds=0.0, attempts=2)
    with fleet.cluster.connect("s0-p") as holder:
        holder.execute("BEGIN")
        holder.execute("LOCK TABLE orders IN ROW EXCLUSIVE MODE")
        with pytest.raises(ScatterFailed, match=r"public\.orders.* stayed locked"):
            fleet.create_all(declared(), patience=patience)


def test_a_unique_rule_is_refused_before_anything_is_made(fleet: Fleet) -> None:
    with pytest.raises(UnsupportedSchema, match="cannot be kept over all shards"):
        fleet.create_all(declared(UniqueConstraint("state")))
    assert fleet.run("s0", "SELECT to_regclass('orders')::text") == [(None,)]
