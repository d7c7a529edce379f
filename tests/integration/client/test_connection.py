"""Plain psycopg connections: committed, rolled back, cleaned, never handed on dirty."""

import psycopg
import pytest
from psycopg.rows import dict_row

from shardrouter import Router
from shardrouter.errors import BackendUnreachable, PoolTimeout, SlotNotOwned
from tests.support.cluster import Cluster
from tests.support.orders import keys_on


def test_block_commits_and_an_error_rolls_back(router: Router) -> None:
    key, other = keys_on(router, "s1", 2)
    with router.connection(key) as connection:
        connection.execute("INSERT INTO users VALUES (%s, 'kept')", [key])
    with pytest.raises(ZeroDivisionError), router.connection(other) as connection:
        connection.execute("INSERT INTO users VALUES (%s, 'lost')", [other])
        raise ZeroDivisionError
    with router.connection(key, read="primary") as connection:
        assert connection.execute("SELECT name FROM users").fetchall() == [("kept",)]


def test_read_connection_cannot_write(router: Router) -> None:
    (key,) = keys_on(router, "s1", 1)
    for read in ("replica", "primary"):
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            with router.connection(key, read=read) as connection:
                connection.execute("INSERT INTO users VALUES (1, 'x')")


@pytest.mark.parametrize("dirt", ["autocommit", "row factory", "isolation", "open transaction"])
def test_dirty_connection_does_not_reach_the_next_user(router: Router, dirt: str) -> None:
    (key,) = keys_on(router, "s1", 1)
    with router.connection(key) as connection:
        match dirt:
            case "autocommit":
                connection.autocommit = True
            case "row factory":
                connection.row_factory = dict_row  # type: ignore[assignment]
            case "isolation":
                connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
            case _:
                connection.execute("BEGIN")
    with router.connection(key) as connection:
        assert not connection.autocommit
        assert connection.isolation_level is None
        assert connection.execute("SHOW transaction_isolation").fetchone() == ("read committed",)


def test_guards_refusal_is_ours_and_reloads_the_topology(router: Router, cluster: Cluster) -> None:
    (key,) = keys_on(router, "s1", 1)
    refuse = """
        DO $$ BEGIN RAISE 'slot 1 is not owned here' USING ERRCODE = 'SR001'; END $$"""
    with pytest.raises(SlotNotOwned, match="run the whole transaction again"):
        with router.connection(key) as connection:
            connection.execute(refuse)
    with pytest.raises(SlotNotOwned, match="shard s1"), router.session(key) as session:
        session.connection().exec_driver_sql(refuse)


def test_idle_connection_that_the_server_closed_is_replaced_unseen(
    router: Router, cluster: Cluster
) -> None:
    (key,) = keys_on(router, "s1", 1)
    with router.connection(key) as connection:
        pid = connection.info.backend_pid
    with cluster.connect("s1-p") as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    with router.connection(key) as connection:
        assert connection.info.backend_pid != pid
        connection.execute("INSERT INTO users VALUES (%s, 'x')", [key])


def test_connection_killed_before_commit_is_no_doubt(router: Router, cluster: Cluster) -> None:
    (key,) = keys_on(router, "s1", 1)
    with pytest.raises(psycopg.errors.AdminShutdown):
        with router.connection(key) as connection, cluster.connect("s1-p") as admin:
            connection.execute("INSERT INTO users VALUES (%s, 'x')", [key])
            admin.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.info.backend_pid])
    with router.connection(key) as connection:
        assert connection.execute("SELECT * FROM users").fetchall() == []


def test_full_pool_times_out_with_a_named_error(cluster: Cluster, tables: None) -> None:
    cluster.settings_path.write_text(
        f'[catalog]\ndsn = "{cluster.catalog_dsn}"\n'
        "[pool]\nsize = 2\ncheckout_timeout_seconds = 0.2\n"
    )
    with Router.from_config(cluster.settings_path) as router:
        (key,) = keys_on(router, "s1", 1)
        with router.connection(key), router.connection(key):
            with pytest.raises(PoolTimeout, match=r"pool\.size") as caught:
                with router.connection(key):
                    pass
            assert (caught.value.shard, caught.value.node) == ("s1", "s1-p")
        with router.connection(key):
            pass


def test_unreachable_primary_is_named(cluster: Cluster, tables: None) -> None:
    with Router.from_config(cluster.settings_path) as router:
        (key,) = keys_on(router, "s1", 1)
        with cluster.fleet.node("s1-p").connect("postgres") as admin:
            admin.execute(f'ALTER DATABASE "{cluster.database}" ALLOW_CONNECTIONS false'.encode())
            with pytest.raises(BackendUnreachable, match="shard s1, node s1-p, epoch 1"):
                with router.connection(key):
                    pass
            admin.execute(f'ALTER DATABASE "{cluster.database}" ALLOW_CONNECTIONS true'.encode())
