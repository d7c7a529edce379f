"""What is done and told of the guards when a shard's migration is over."""

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection

from shardrouter.catalog import CatalogStore
from shardrouter.control.migrate_guards import GuardSummary, install_all_guards, look_at_guards
from shardrouter.postgres import direct_connection, run_with_locks
from shardrouter.postgres.verbatim import run_verbatim
from shardrouter.topology import ShardId, Topology
from tests.support.guarded import CREATE_ORDERS, keys_of

S0 = ShardId("s0")


@pytest.fixture
def topology(store: CatalogStore) -> Topology:
    return store.load()


@pytest.fixture
def connection(topology: Topology) -> Iterator[Connection]:
    shard = topology.shard(S0)
    with direct_connection(shard, shard.primary, 3.0) as opened:
        yield opened


def run(connection: Connection, statement: str) -> None:
    run_with_locks(connection, lambda: run_verbatim(connection, statement), [], sleep=time.sleep)


def install(connection: Connection, topology: Topology) -> GuardSummary:
    return install_all_guards(connection, topology, S0, sleep=time.sleep)


def test_a_registered_table_that_exists_is_guarded(
    connection: Connection, topology: Topology
) -> None:
    missing = ("public.orders: guard no table the table does not exist",)
    assert install(connection, topology) == GuardSummary(0, 1, missing)
    run(connection, CREATE_ORDERS)
    assert look_at_guards(connection, topology, S0).standing == 0
    assert str(install(connection, topology)) == "1/1"
    run(connection, "DROP TRIGGER zzz_shardrouter_guard ON orders")
    assert look_at_guards(connection, topology, S0).problems == (
        "public.orders: guard missing on orders",
    )
    assert install(connection, topology) == GuardSummary(1, 1)


def test_tables_that_are_not_registered_are_noted(
    connection: Connection, topology: Topology
) -> None:
    run(connection, "CREATE SCHEMA other; CREATE TABLE other.notes (); CREATE TABLE a ()")
    run(connection, "CREATE TABLE alembic_version (); CREATE VIEW v AS SELECT 1")
    notes = look_at_guards(connection, topology, S0).notes
    assert notes == ("not registered, so not guarded: other.notes, public.a",)


def test_a_key_that_changed_its_type_is_a_problem(
    connection: Connection, topology: Topology
) -> None:
    run(connection, "CREATE TABLE orders (id bigint PRIMARY KEY, user_id text NOT NULL)")
    found = look_at_guards(connection, topology, S0).problems
    assert found[-1] == (
        "the shard key of public.orders is user_id text, registered as user_id int8"
    )
    run(connection, "ALTER TABLE orders ALTER user_id DROP NOT NULL")
    found = look_at_guards(connection, topology, S0).problems
    assert found[-1] == "the shard key public.orders.user_id may be NULL"


def test_a_table_with_rows_keeps_its_identity_and_a_note_says_so(
    connection: Connection, topology: Topology
) -> None:
    run(connection, CREATE_ORDERS)
    run(connection, f"INSERT INTO orders VALUES (1, {keys_of(topology, 's0', 1)[0]})")
    summary = install(connection, topology)
    assert (summary.standing, summary.problems) == (1, ())
    assert "CREATE UNIQUE INDEX CONCURRENTLY" in summary.notes[0]
