"""A shard that joins gets tables, guards and reference rows before anybody knows it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from shardrouter import Router
from shardrouter.catalog import CatalogStore, catalog_engine
from shardrouter.errors import ShardRouterError
from shardrouter.postgres import check_guards, direct_connection
from tests.integration.cli.conftest import Run
from tests.support.cluster import Cluster
from tests.support.eventually import eventually
from tests.support.orders import Base, Country

EXTRAS = """
CREATE SCHEMA other;
CREATE TYPE public.mood AS ENUM ('glad', 'sad');
ALTER TABLE countries ADD feels public.mood DEFAULT 'glad', ADD length int
  GENERATED ALWAYS AS (char_length(name)) STORED;
CREATE FUNCTION public.shout() RETURNS trigger LANGUAGE plpgsql
  AS $$BEGIN NEW.name := upper(NEW.name); RETURN NEW; END$$;
CREATE TRIGGER shout BEFORE INSERT ON countries FOR EACH ROW EXECUTE FUNCTION public.shout();
CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
INSERT INTO alembic_version VALUES ('abc123');
CREATE TABLE other.scratch (id int);
CREATE VIEW public.names AS SELECT name FROM countries;
"""


@pytest.fixture
def third(cluster: Cluster) -> Iterator[str]:
    """The DSN of an empty database beside s0's, for shard s2."""
    name = f"{cluster.database}_s2"
    server = cluster.fleet.node("s0-p")
    with server.connect("postgres") as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    yield make_conninfo(cluster.dsn("s0-p"), dbname=name)
    with server.connect("postgres") as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def fleet(run: Run, cluster: Cluster) -> Run:
    """The command on the cluster's fleet, whose tables stand and hold a few rows."""
    with Router.from_config(cluster.settings_path) as router:
        router.create_all(Base)
        for server in cluster.primaries():
            with cluster.connect(server.id) as connection:
                connection.execute(EXTRAS.encode())
        add_country(router, "DE", "Germany")

    def call(*arguments: str) -> Any:
        return run(*arguments, "--config", str(cluster.settings_path))

    return call


def add_country(router: Router, code: str, name: str) -> None:
    with router.transaction(reference=True) as tx:
        tx.reference.add(Country(code=code, name=name))


@contextmanager
def catalog_of(cluster: Cluster) -> Iterator[CatalogStore]:
    engine = catalog_engine(cluster.catalog_dsn)
    yield CatalogStore(engine)
    engine.dispose()


def do(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def rows(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode()).fetchall()


def test_a_shard_joins_with_everything_it_needs(fleet: Run, cluster: Cluster, third: str) -> None:
    said = fleet("shard", "add", "s2", "--primary", third)
    assert said.code == 0, said.err
    assert "made public.users, public.orders, public.countries on shard s2" in said.err
    assert "not registered, so left out: other.scratch, public.names" in said.err
    assert "next: `shardrouter rebalance plan`" in said.err
    assert rows(third, "SELECT code, name, feels::text, length FROM countries") == [
        ("DE", "GERMANY", "glad", 7)
    ]
    assert rows(third, "SELECT version_num FROM alembic_version") == [("abc123",)]
    assert rows(third, "SELECT tgname FROM pg_trigger WHERE tgname = 'shout'") == [("shout",)]
    with catalog_of(cluster) as store:
        topology = store.load()
        shard = topology.shard("s2")
        with direct_connection(shard, shard.primary, 3.0) as connection:
            assert all(report.is_ok for report in check_guards(connection, topology, shard.id))
    with pytest.raises(psycopg.Error, match="shard s2 does not own slot"):
        rows(third, "INSERT INTO users VALUES (1, 'nobody') RETURNING id")


def test_reference_rows_written_meanwhile_are_on_every_shard(
    fleet: Run, cluster: Cluster, third: str
) -> None:
    written: list[str] = []
    stop = threading.Event()

    def write(router: Router) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            code = f"c{number}"
            try:
                add_country(router, code, "somewhere")
            except ShardRouterError as error:
                assert error.retryable, error
            else:
                written.append(code)

    with Router.from_config(cluster.settings_path) as router:
        writer = threading.Thread(target=write, args=(router,))
        writer.start()
        try:
            eventually(lambda: len(written) > 3)
            said = fleet("shard", "add", "s2", "--primary", third)
            before = len(written)
            eventually(lambda: len(written) > before + 3)
        finally:
            stop.set()
            writer.join()
    assert said.code == 0, said.err
    everywhere = [cluster.dsn("s0-p"), cluster.dsn("s1-p"), third]
    held = [{code for (code,) in rows(dsn, "SELECT code FROM countries")} for dsn in everywhere]
    assert held[0] == held[1] == held[2]
    assert held[0] >= set(written)


def test_nothing_is_left_when_the_tables_cannot_be_made(
    fleet: Run, cluster: Cluster, third: str
) -> None:
    do(third, "CREATE TYPE public.mood AS ENUM ()")
    said = fleet("shard", "add", "s2", "--primary", third)
    assert said.code == 1
    assert 'the tables cannot be made there: type "mood" already exists [shard s2]' in said.err
    assert rows(third, "SELECT to_regclass('users'), to_regnamespace('other')") == [(None, None)]
    with catalog_of(cluster) as store:
        assert [shard.id for shard in store.load().shards] == ["s0", "s1"]


def test_dry_run_shows_and_makes_nothing(fleet: Run, cluster: Cluster, third: str) -> None:
    said = fleet("shard", "add", "s2", "--primary", third, "--dry-run")
    assert (said.code, "would make public.users" in said.err) == (0, True)
    assert rows(third, "SELECT to_regclass('users')") == [(None,)]


def test_prepare_mends_a_shard_that_joined_without_tables(
    fleet: Run, cluster: Cluster, third: str
) -> None:
    added = fleet("shard", "add", "s2", "--primary", third, "--no-tables")
    assert added.code == 0, added.err
    assert "make the tables there first: `shardrouter shard prepare s2`" in added.err
    dry = fleet("shard", "prepare", "s2", "--dry-run")
    assert (dry.code, "CREATE TABLE public.users" in dry.out) == (0, True)
    assert "zzz_shardrouter_guard" not in dry.out
    done = fleet("shard", "prepare", "s2", "-o", "json")
    assert done.code == 0, done.err
    assert done.data["made"] == ["public.users", "public.orders", "public.countries"]
    assert done.data["copied"] == {"public.countries": 1}
    again = fleet("shard", "prepare", "s2")
    assert again.out == "all registered tables stand, with their guards\n"


def test_reference_rows_that_differ_are_not_overwritten_on_a_shard_of_the_fleet(
    fleet: Run, cluster: Cluster
) -> None:
    with cluster.connect("s1-p") as connection:
        connection.execute("UPDATE countries SET name = 'Allemagne'")
    said = fleet("shard", "prepare", "s1")
    assert said.code == 1
    assert "reference table public.countries differs" in said.err


def test_half_of_the_tables_is_refused(fleet: Run, cluster: Cluster, third: str) -> None:
    do(third, "CREATE TABLE users (id bigint PRIMARY KEY)")
    said = fleet("shard", "add", "s2", "--primary", third)
    assert said.code == 1
    assert "public.orders, public.countries is missing" in said.err


def test_rows_of_nobody_are_refused(fleet: Run, cluster: Cluster, third: str) -> None:
    fleet("shard", "add", "s2", "--primary", third, "--no-tables")
    assert fleet("shard", "prepare", "s2").code == 0
    do(third, "SET session_replication_role = replica", "INSERT INTO users VALUES (1, 'x')")
    said = fleet("shard", "prepare", "s2")
    assert (said.code, "holds rows that this shard does not own" in said.err) == (1, True)
