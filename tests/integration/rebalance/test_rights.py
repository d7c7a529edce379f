"""A role with the rights that docs/how-to/rebalance.md lists, and no more, carries moves out."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from shardrouter.catalog import Move
from shardrouter.local import LocalFleet, LocalServer
from shardrouter.rebalance.mover import Stops
from shardrouter.topology import MoveState, Topology, Wish
from tests.integration.rebalance.conftest import MOVING, ROWS, Prepared
from tests.support.moving_bed import MovingBed
from tests.support.moving_here import run_move, wish

HOW_TO = Path(__file__).parents[3] / "docs/how-to/rebalance.md"
PASSWORD = "pencil"
ASKS_FOR_IT = "host all mover 127.0.0.1/32 scram-sha-256\n"
SINCE_POSTGRES = 160000  # before, only a superuser makes subscriptions
TABLES = "SELECT format('%I', relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace"


def statements_of_the_how_to(database: str) -> list[str]:
    """Return the lines of SQL that it prints for the role ``mover``."""
    block = re.search(r"```sql\n(CREATE ROLE mover .*?)```", HOW_TO.read_text(), re.DOTALL)
    assert block is not None
    text = re.sub(r"--.*", "", block[1]).replace("'...'", f"'{PASSWORD}'")
    text = text.replace("DATABASE app", f"DATABASE {database}")
    return [statement.strip() for statement in text.split(";") if statement.strip()]


def as_mover(topology: Topology) -> Topology:
    """Return the topology with the role, and its password, in every address."""
    nodes = {
        shard.id: tuple(
            replace(node, dsn=re.sub(r"//[^@/]*@", f"//mover:{PASSWORD}@", node.dsn))
            for node in shard.nodes
        )
        for shard in topology.shards
    }
    return replace(
        topology, shards=tuple(replace(shard, nodes=nodes[shard.id]) for shard in topology.shards)
    )


@contextmanager
def asking_for_its_password(server: LocalServer) -> Iterator[None]:
    """Postgres lets no ordinary role subscribe without one."""
    rules = server.data / "pg_hba.conf"
    before = rules.read_text()
    with server.connect("postgres") as connection:
        rules.write_text(ASKS_FOR_IT + before)
        connection.execute("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            rules.write_text(before)
            connection.execute("SELECT pg_reload_conf()")


class Fleet:
    """The primaries of a fleet on which the roles are made, and dropped with what they own."""

    def __init__(self, fleet: LocalFleet) -> None:
        self.primaries = [fleet.primary(shard) for shard in ("s0", "s1")]

    def run(self, database: str, *statements: str) -> None:
        for server in self.primaries:
            with server.connect(database) as connection:
                for statement in statements:
                    connection.execute(statement.encode())

    def make_roles(self, database: str) -> None:
        self.run(database, "CREATE ROLE service_owner", *statements_of_the_how_to(database))
        self.run(database, "GRANT ALL ON SCHEMA public TO service_owner, mover")

    def give_tables_away(self, database: str) -> None:
        """The service owns its tables, not who moves them."""
        for server in self.primaries:
            with server.connect(database) as connection:
                for (name,) in connection.execute(f"{TABLES} AND relkind = 'r'").fetchall():
                    connection.execute(f"ALTER TABLE {name} OWNER TO service_owner".encode())

    def drop_roles(self) -> None:
        self.run(
            "postgres",
            "DROP OWNED BY mover, service_owner",
            "DROP ROLE mover, service_owner",
        )


@pytest.fixture
def humble(moving_fleet: LocalFleet, tmp_path: Path) -> Iterator[Prepared]:
    """A bed whose topology names the role ``mover``."""
    made = Fleet(moving_fleet)
    with made.primaries[0].connect("postgres") as connection:
        if connection.info.server_version < SINCE_POSTGRES:
            pytest.skip("before PostgreSQL 16 it takes a superuser")
    bed = _Bed(moving_fleet, tmp_path, slots=256)
    bed.roles = made
    bed.cluster.topology = as_mover(bed.cluster.topology)
    with asking_for_its_password(made.primaries[0]), asking_for_its_password(made.primaries[1]):
        try:
            bed.make()
            slots = bed.slots_of("s0", MOVING)
            bed.open_accounts([*slots, *bed.slots_of("s1", 2)])
            bed.fill("s0", ROWS)
            yield Prepared(bed, slots)
        finally:
            bed.drop()
            made.drop_roles()


class _Bed(MovingBed):
    """Its tables are made by the role, then given to the service's owner."""

    roles: Fleet

    def make_tables(self, router: Any) -> None:
        self.roles.make_roles(self.cluster.database)
        super().make_tables(router)
        self.roles.give_tables_away(self.cluster.database)


def aborted(humble: Prepared, copy_mode: str) -> Move:
    number = humble.create(copy_mode=copy_mode)
    assert run_move(humble.bed, number, stops=Stops(at_ready=True)).state is MoveState.READY
    wish(humble.bed, number, Wish.ABORT)
    return run_move(humble.bed, number)


def reversed_(humble: Prepared, copy_mode: str) -> Move:
    number = humble.create(copy_mode=copy_mode, soak_seconds=3600.0)
    assert run_move(humble.bed, number, stops=Stops()).state is MoveState.SOAKING
    wish(humble.bed, number, Wish.REVERSE)
    return run_move(humble.bed, number)


def done(humble: Prepared, copy_mode: str) -> Move:
    return run_move(humble.bed, humble.create(copy_mode=copy_mode, soak_seconds=0.2))


@pytest.mark.parametrize("copy_mode", ["safe", pytest.param("fast", marks=pytest.mark.slow)])
def test_a_superuser_is_not_needed(humble: Prepared, copy_mode: str) -> None:
    with humble.clients():
        for way, end in (
            (aborted, MoveState.ABORTED),
            (reversed_, MoveState.REVERSED),
            (done, MoveState.DONE),
        ):
            move = way(humble, copy_mode)
            assert (move.state, move.attention) == (end, None)
    humble.bed.wait_clean()


def test_the_role_is_no_superuser(humble: Prepared) -> None:
    node = humble.bed.topology.shards[0].primary
    with psycopg.connect(node.dsn, autocommit=True) as connection:
        assert connection.execute("SHOW is_superuser").fetchone() == ("off",)
