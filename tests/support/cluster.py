"""Fresh databases on all servers of a running fleet, as one test sees them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from shardrouter.catalog import CatalogStore, catalog_engine, install
from shardrouter.local import LocalFleet, LocalServer
from shardrouter.topology import Epoch, Role, Topology
from tests.support.eventually import eventually

Connection = psycopg.Connection[TupleRow]


class Cluster:
    """One test's databases: ``database`` on every shard, ``catalog_database`` on the catalog."""

    def __init__(self, fleet: LocalFleet, number: int, settings_path: Path) -> None:
        self.fleet = fleet
        self.database = f"t{number}"
        self.catalog_database = f"c{number}"
        self.settings_path = settings_path
        self.topology: Topology = fleet.topology(database=self.database)

    @property
    def catalog_dsn(self) -> str:
        return self.fleet.catalog.dsn(self.catalog_database)

    def dsn(self, node_id: str) -> str:
        return self.fleet.node(node_id).dsn(self.database)

    def connect(self, node_id: str, **options: Any) -> Connection:
        """Open an autocommit connection to this test's database on a node."""
        return self.fleet.node(node_id).connect(self.database, **options)

    def wait_replayed(self, node_id: str) -> None:
        """Wait until a replica has replayed all its primary has written."""
        replica = self.fleet.node(node_id)
        assert replica.primary is not None
        with replica.primary.connect("postgres") as primary:
            lsn = _one(primary, "SELECT pg_current_wal_lsn()")
        with replica.connect("postgres") as connection:
            query = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
            eventually(lambda: _one(connection, query, lsn))

    @contextmanager
    def replay_paused(self, node_id: str) -> Iterator[None]:
        """Keep a replica from replaying; it goes on receiving."""
        with self.fleet.node(node_id).connect("postgres") as connection:
            connection.execute("SELECT pg_wal_replay_pause()")
            eventually(lambda: _one(connection, "SELECT pg_get_wal_replay_pause_state()='paused'"))
            try:
                yield
            finally:
                connection.execute("SELECT pg_wal_replay_resume()")

    @contextmanager
    def stopped(self, node_id: str) -> Iterator[LocalServer]:
        """Stop a server for a while; afterwards it runs, and a replica streams, again."""
        server = self.fleet.node(node_id)
        server.stop()
        try:
            yield server
        finally:
            self.fleet.start()

    def make(self) -> None:
        """Make the databases and wait until the replicas have them."""
        for server in self.primaries():
            with server.connect("postgres") as connection:
                connection.execute(_create(self.database, "template1"))
        with self.fleet.catalog.connect("postgres") as connection:
            connection.execute(_create(self.catalog_database, self.fleet.catalog.database))
        for server in self.fleet.nodes:
            if server.role is Role.REPLICA:
                self.wait_replayed(server.id)

    def publish(self) -> None:
        """Publish the topology at epoch 1 in this test's catalog, which has the tables already."""
        engine = catalog_engine(self.catalog_dsn)
        try:
            store = CatalogStore(engine)
            store.found(self.topology.slots, actor="tests")
            store.publish(self.topology, expected=Epoch(0), actor="tests", reason="a fresh fleet")
        finally:
            engine.dispose()

    def drop(self) -> None:
        """Drop the databases and what keeps them: prepared transactions, logical slots."""
        for server in self.primaries():
            with server.connect(self.database) as connection:
                _release(connection)
            with server.connect("postgres") as connection:
                connection.execute(_drop(self.database))
        with self.fleet.catalog.connect("postgres") as connection:
            connection.execute(_drop(self.catalog_database))

    def primaries(self) -> tuple[LocalServer, ...]:
        return tuple(node for node in self.fleet.nodes if node.role is Role.PRIMARY)


def install_catalog(fleet: LocalFleet) -> None:
    """Install the tables in the fleet's catalog database, the template of every test's."""
    engine = catalog_engine(fleet.catalog.dsn())
    try:
        install(engine)
    finally:
        engine.dispose()


def _one(connection: Connection, query: str, *values: object) -> Any:
    row = connection.execute(query.encode(), values).fetchone()
    assert row is not None
    return row[0]


def _create(database: str, template: str) -> sql.Composed:
    return sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
        sql.Identifier(database), sql.Identifier(template)
    )


def _drop(database: str) -> sql.Composed:
    return sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database))


def _release(connection: Connection) -> None:
    prepared = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
    for (gid,) in connection.execute(prepared).fetchall():
        connection.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))
    slots = "SELECT slot_name, active_pid FROM pg_replication_slots WHERE database = %s"
    name = connection.info.dbname
    for slot, pid in connection.execute(slots, [name]).fetchall():
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        connection.execute("SELECT pg_drop_replication_slot(%s)", [slot])
