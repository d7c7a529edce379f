"""A router's life: opening, forks, closing, a lost lease, a changed topology, many threads."""

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from shardrouter import Router
from shardrouter.catalog import CatalogStore, catalog_engine
from shardrouter.errors import (
    CatalogUnavailable,
    LeaseExpired,
    RouterClosed,
    SettingsError,
    ShardRouterError,
)
from shardrouter.topology import Node, NodeId, Role, Topology
from tests.support.cluster import Cluster
from tests.support.eventually import eventually
from tests.support.orders import User, keys_on


def publish(cluster: Cluster, topology: Topology) -> None:
    engine = catalog_engine(cluster.catalog_dsn)
    store = CatalogStore(engine)
    store.publish(topology, expected=store.epoch(), actor="tests", reason="a test")
    engine.dispose()


def test_no_settings_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="shardrouter up"):
        Router.from_config(tmp_path / "shardrouter.toml")


def test_catalog_that_is_down_at_start_is_named(tmp_path: Path) -> None:
    settings = tmp_path / "shardrouter.toml"
    settings.write_text('[catalog]\ndsn = "host=127.0.0.1 port=1 dbname=catalog"\n')
    with pytest.raises(CatalogUnavailable):
        Router.from_config(settings)
    names = [thread.name for thread in threading.enumerate()]
    assert "shardrouter-control" not in names, "a failed start leaves nothing running"


def test_closed_router_refuses(cluster: Cluster) -> None:
    router = Router.from_config(cluster.settings_path)
    router.close()
    router.close()
    with pytest.raises(RouterClosed, match="make a new one"):
        router.session(1)


def test_fork_refuses_and_leaves_the_parent_alone(router: Router) -> None:
    (key,) = keys_on(router, "s0", 1)
    with router.session(key) as session:
        session.execute(text("SELECT 1"))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            router.session(key)
        except RouterClosed as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert b"after the fork" in os.read(reader, 1000)
    os.close(reader)
    os.close(writer)
    with router.session(key) as session:
        assert session.scalar(text("SELECT 1")) == 1


def test_router_serves_until_its_lease_ends_then_refuses_then_recovers(cluster: Cluster) -> None:
    cluster.settings_path.write_text(
        f'[catalog]\ndsn = "{cluster.catalog_dsn}"\nlease_seconds = 3\n'
        "poll_seconds = 0.1\nconnect_timeout_seconds = 2\nstatement_timeout_seconds = 1\n"
    )
    alter = 'ALTER DATABASE "{}" ALLOW_CONNECTIONS {}'
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
    with Router.from_config(cluster.settings_path) as router:
        with cluster.fleet.catalog.connect("postgres") as admin:
            admin.execute(alter.format(cluster.catalog_database, "false").encode())
            admin.execute(cut, [cluster.catalog_database])
            with router.session(1) as session:
                session.execute(text("SELECT 1"))

            def refusal() -> ShardRouterError | None:
                try:
                    router.session(1)
                except LeaseExpired as error:
                    return error
                return None

            error = eventually(refusal)
            assert error is not None and error.epoch == 1 and error.hint
            admin.execute(alter.format(cluster.catalog_database, "true").encode())
            eventually(lambda: refusal() is None)
            with router.session(1) as session:
                session.execute(text("SELECT 1"))


def test_router_follows_the_topology_and_drops_the_pools_of_nodes_that_left(
    cluster: Cluster, router: Router
) -> None:
    (key,) = keys_on(router, "s0", 1)
    with router.session(key, read="replica") as session:
        session.execute(text("SELECT 1"))
    s0, s1 = router.topology.shards
    renamed = Node(NodeId("s0-r9"), Role.REPLICA, s0.replicas[0].dsn)
    publish(cluster, router.topology.next(shards=(replace(s0, nodes=(s0.primary, renamed)), s1)))
    eventually(lambda: router.topology.epoch == 2)
    eventually(lambda: router.fleet_view.of(NodeId("s0-r9")) is not None)
    assert router.fleet_view.of(NodeId("s0-r1")) is None
    with router.session(key, read="replica") as session:
        session.execute(text("SELECT 1"))
        assert session.unit.node is not None and session.unit.node.id == "s0-r9"
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name = %s"
    with cluster.fleet.node("s0-r1").connect("postgres") as replica:
        asked = [cluster.database, "shardrouter"]
        eventually(lambda: replica.execute(count, asked).fetchone() == (1,))


def test_moved_slot_is_served_by_its_new_owner(cluster: Cluster, router: Router) -> None:
    (key,) = keys_on(router, "s0", 1)
    owners = list(router.topology.owners)
    owners[router.slot_of(key)] = router.topology.shards[1].id
    publish(cluster, router.topology.next(owners=tuple(owners)))
    eventually(lambda: router.shard_of(key).id == "s1")
    with router.session(key) as session:
        session.add(User(id=key, name="moved"))
        session.commit()
    with cluster.connect("s1-p") as admin:
        assert admin.execute("SELECT id FROM users").fetchall() == [(key,)]


def test_replica_that_belongs_to_another_system_is_never_read(
    cluster: Cluster, router: Router
) -> None:
    s0, s1 = router.topology.shards
    wrong = Node(NodeId("s0-r1"), Role.REPLICA, s1.replicas[0].dsn)
    publish(cluster, router.topology.next(shards=(replace(s0, nodes=(s0.primary, wrong)), s1)))
    eventually(lambda: router.topology.epoch == 2)
    (key,) = keys_on(router, "s0", 1)
    other_system = eventually(lambda: _system(router, "s0-r1") != _system(router, "s0-p"))
    assert other_system
    with router.session(key, read="replica") as session:
        session.execute(text("SELECT 1"))
        assert session.unit.node is not None and session.unit.node.id == "s0-p"


def _system(router: Router, node: str) -> str:
    sample = router.fleet_view.of(NodeId(node))
    return "" if sample is None else sample.system_id


def test_many_threads_share_a_router(router: Router, cluster: Cluster) -> None:
    keys = [*keys_on(router, "s0", 40), *keys_on(router, "s1", 40)]
    failures: list[BaseException] = []

    def work(mine: list[int]) -> None:
        try:
            for key in mine:
                with router.session(key) as session:
                    session.add(User(id=key, name=f"{key}"))
                    session.commit()
                with router.connection(key, read="replica") as connection:
                    row = connection.execute("SELECT name FROM users WHERE id = %s", [key])
                    assert row.fetchone() == (f"{key}",)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=[keys[i::16]]) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for node in ("s0-p", "s1-p"):
        with cluster.connect(node) as admin:
            assert admin.execute("SELECT count(*) FROM users").fetchone() == (40,)
