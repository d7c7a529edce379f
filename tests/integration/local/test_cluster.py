"""The fixtures every other integration test stands on."""

import psycopg
import pytest

from shardrouter.catalog import CatalogStore, catalog_engine
from tests.support.cluster import Cluster
from tests.support.eventually import eventually


def test_databases_are_fresh_and_replicated(cluster: Cluster) -> None:
    with cluster.connect("s0-p") as primary, cluster.connect("s0-r1") as replica:
        primary.execute("CREATE TABLE t (id int)")
        primary.execute("INSERT INTO t VALUES (1)")
        cluster.wait_replayed("s0-r1")
        assert replica.execute("SELECT id FROM t").fetchall() == [(1,)]
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            replica.execute("INSERT INTO t VALUES (2)")
    with cluster.connect("s1-p") as other:
        assert other.execute("SELECT to_regclass('t')").fetchone() == (None,)


def test_replay_paused_hides_new_rows_until_it_resumes(cluster: Cluster) -> None:
    with cluster.connect("s0-p") as primary, cluster.connect("s0-r1") as replica:
        primary.execute("CREATE TABLE t (id int)")
        cluster.wait_replayed("s0-r1")
        with cluster.replay_paused("s0-r1"):
            primary.execute("INSERT INTO t VALUES (1)")
            received = "SELECT pg_last_wal_receive_lsn() >= %s::pg_lsn"
            lsn = primary.execute("SELECT pg_current_wal_lsn()").fetchone()
            assert lsn is not None
            eventually(lambda: replica.execute(received, lsn).fetchone() == (True,))
            assert replica.execute("SELECT count(*) FROM t").fetchone() == (0,)
        eventually(lambda: replica.execute("SELECT count(*) FROM t").fetchone() == (1,))


def test_leftovers_of_a_test_do_not_keep_its_databases(cluster: Cluster) -> None:
    primary = cluster.connect("s0-p")
    primary.execute("SELECT pg_create_logical_replication_slot('left_behind', 'pgoutput')")
    primary.execute("CREATE TABLE t (id int)")
    primary.execute("BEGIN")
    primary.execute("INSERT INTO t VALUES (1)")
    primary.execute("PREPARE TRANSACTION 'left behind'")
    cluster.drop()
    cluster.make()
    with cluster.fleet.node("s0-p").connect("postgres") as connection:
        assert connection.execute("SELECT gid FROM pg_prepared_xacts").fetchall() == []
        logical = "SELECT slot_name FROM pg_replication_slots WHERE slot_type = 'logical'"
        assert connection.execute(logical).fetchall() == []
    primary.close()


def test_stopped_node_comes_back_streaming(cluster: Cluster) -> None:
    with cluster.stopped("s0-r1") as server:
        assert not server.is_running()
        with pytest.raises(psycopg.OperationalError):
            cluster.connect("s0-r1")
    with cluster.connect("s0-p") as primary, cluster.connect("s0-r1") as replica:
        primary.execute("CREATE TABLE t ()")
        cluster.wait_replayed("s0-r1")
        assert replica.execute("SELECT to_regclass('t')").fetchone() == ("t",)


def test_catalog_of_the_test_holds_its_topology(cluster: Cluster) -> None:
    engine = catalog_engine(cluster.catalog_dsn)
    assert CatalogStore(engine).load() == cluster.topology
    assert cluster.topology.epoch == 1
    assert cluster.topology.shard("s1").primary.dsn == cluster.dsn("s1-p")
    engine.dispose()
