"""``shardrouter migrate`` as people and programs see it."""

import json
import signal

from shardrouter.catalog import CatalogStore
from tests.support.alembic_service import AlembicService
from tests.support.cluster import Cluster
from tests.support.command import shardrouter, started_shardrouter
from tests.support.eventually import eventually


def test_the_matrix_and_the_exit_codes(
    cluster: Cluster, store: CatalogStore, service: AlembicService
) -> None:
    settings = ("--config", str(cluster.settings_path), "--alembic", str(service.ini))
    with cluster.connect("s1-p") as connection:
        connection.execute("CREATE TABLE orders (made_by text)")
    failed = shardrouter("migrate", *settings, cwd=service.place)
    assert failed.returncode == 1
    header, first, second = failed.stdout.splitlines()
    assert header.split() == ["shard", "state", "current", "head", "steps", "guards", "error"]
    assert first.split() == ["s0", "ok", "r1", "r1", "1", "1/1"]
    assert second.split()[:5] == ["s1", "failed", "none", "r1", "0"]
    assert second.endswith('relation "orders" already exists')
    assert "Traceback" not in failed.stderr

    status = shardrouter("migrate", "status", *settings, "-o", "json", cwd=service.place)
    assert status.returncode == 1  # not every shard is where it should be
    found = {row["shard"]: row for row in json.loads(status.stdout)}
    assert [found[shard]["state"] for shard in ("s0", "s1")] == ["ok", "behind"]
    assert found["s1"]["steps"] == ["r1 revision r1"]


def test_a_downgrade_wants_to_be_confirmed(cluster: Cluster, service: AlembicService) -> None:
    settings = ("--config", str(cluster.settings_path), "--alembic", str(service.ini))
    refused = shardrouter("migrate", "downgrade", "base", *settings, cwd=service.place)
    assert refused.returncode == 1
    assert "error: a downgrade to base may drop tables" in refused.stderr
    assert "--yes" in refused.stderr


def test_an_interrupted_command_leaves_nothing_behind(
    cluster: Cluster, store: CatalogStore, service: AlembicService
) -> None:
    service.add("r2", "SELECT pg_sleep(50)")
    settings = ("--config", str(cluster.settings_path), "--alembic", str(service.ini))
    running = started_shardrouter("migrate", *settings, cwd=service.place)
    with cluster.connect("s1-p") as connection:

        def sessions(only: str = "") -> int:
            query = "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            row = connection.execute(f"{query} AND datname = current_database() {only}").fetchone()
            assert row is not None
            return int(row[0])

        eventually(lambda: sessions("AND wait_event = 'PgSleep'"), 30)
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=20) == 130
        eventually(lambda: sessions() == 0)
        assert connection.execute("SELECT to_regclass('orders')::text").fetchone() == (None,)
    assert running.stdout is not None
    running.stdout.close()
