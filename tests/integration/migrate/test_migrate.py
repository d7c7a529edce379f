"""A service's own alembic environment over all shards: success, failure, resumption, status."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from shardrouter.catalog import CatalogStore
from shardrouter.control import Migration, MigrationAction, ShardReport
from shardrouter.control.migrate import migrate
from shardrouter.control.migrate_shard import MIGRATION_LOCK
from shardrouter.errors import SettingsError
from tests.support.alembic_service import AlembicService
from tests.support.cluster import Cluster
from tests.support.eventually import eventually
from tests.support.guarded import keys_of

Run = Callable[..., dict[str, ShardReport]]
STATUS = MigrationAction.STATUS
DOWNGRADE = MigrationAction.DOWNGRADE


def states(reports: dict[str, ShardReport]) -> dict[str, str]:
    return {shard: str(report.state) for shard, report in reports.items()}


def one(cluster: Cluster, shard: str, query: str) -> Any:
    with cluster.connect(f"{shard}-p") as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def test_every_shard_is_migrated_and_guarded(
    cluster: Cluster, store: CatalogStore, service: AlembicService, run: Run
) -> None:
    service.add("r2", "ALTER TABLE orders ADD note text")
    before = run(STATUS)
    assert states(before) == {"s0": "behind", "s1": "behind"}
    assert before["s1"].steps == ("r1 revision r1", "r2 revision r2")
    assert (before["s1"].current, before["s1"].heads, before["s1"].guards) == ((), ("r2",), "0/1")
    assert one(cluster, "s0", "SELECT to_regclass('alembic_version')::text") is None

    done = run()
    assert states(done) == {"s0": "ok", "s1": "ok"}
    assert (done["s1"].current, done["s1"].guards, done["s1"].error) == (("r2",), "1/1", None)
    assert len(done["s0"].steps) == 2
    stranger = keys_of(store.load(), "s1", 1)[0]
    with pytest.raises(psycopg.Error, match="s0 does not own slot"):
        one(cluster, "s0", f"INSERT INTO orders VALUES (1, {stranger}) RETURNING id")
    identity = "SELECT relreplident::text FROM pg_class WHERE relname = 'orders'"
    assert one(cluster, "s0", identity) == "i"

    after = run(STATUS)
    assert states(after) == {"s0": "ok", "s1": "ok"}
    assert (after["s0"].steps, after["s0"].guards) == ((), "1/1")


def test_a_failed_shard_is_mended_and_resumed(
    cluster: Cluster, service: AlembicService, run: Run
) -> None:
    service.add("r2", "CREATE TABLE notes (id int)")
    service.add("r3", "ALTER TABLE orders ADD note text")
    with cluster.connect("s1-p") as connection:
        connection.execute("CREATE TABLE notes (made_by text)")

    first = run()
    assert states(first) == {"s0": "ok", "s1": "failed"}
    assert first["s1"].error == 'relation "notes" already exists'
    assert (first["s1"].current, first["s1"].steps) == ((), ())  # all rolled back
    assert "Traceback" in first["s1"].log
    assert first["s0"].notes == ("not registered, so not guarded: public.notes",)
    matrix = run(STATUS)
    assert states(matrix) == {"s0": "ok", "s1": "behind"}
    assert (matrix["s0"].current, matrix["s1"].current) == (("r3",), ())

    with cluster.connect("s1-p") as connection:
        connection.execute("DROP TABLE notes")
    second = run()
    assert states(second) == {"s0": "ok", "s1": "ok"}
    assert (len(second["s0"].steps), len(second["s1"].steps)) == (0, 3)


def test_a_migration_that_does_not_end_is_ended(
    cluster: Cluster, service: AlembicService, run: Run
) -> None:
    service.add("r2", "SELECT pg_sleep(60) FROM (SELECT 1) s WHERE current_database() <> ''")
    reports = run(timeout_seconds=2.0)
    assert states(reports) == {"s0": "failed", "s1": "failed"}
    assert reports["s0"].error == "no end within 2 s"
    assert one(cluster, "s0", "SELECT to_regclass('orders')::text") is None
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%'"
    sleeping += " AND pid <> pg_backend_pid() AND state = 'active'"
    eventually(lambda: one(cluster, "s0", sleeping) == 0)
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    locks += " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    eventually(lambda: one(cluster, "s0", locks) == 0)


def test_a_downgrade_goes_back_on_every_shard(cluster: Cluster, run: Run) -> None:
    run()
    reports = run(DOWNGRADE, target="base")
    assert states(reports) == {"s0": "ok", "s1": "ok"}
    assert (reports["s0"].current, reports["s0"].guards) == ((), "0/1")
    assert reports["s0"].notes == ("public.orders: guard no table the table does not exist",)
    assert one(cluster, "s1", "SELECT to_regclass('orders')::text") is None


@pytest.mark.parametrize("target", ["+1", "-1", "branch@+2"])
def test_relative_revisions_are_refused(run: Run, target: str) -> None:
    with pytest.raises(SettingsError, match="counts from where each shard is"):
        run(target=target)


def test_a_missing_ini_is_named(store: CatalogStore, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"there is no file .*alembic\.ini"):
        migrate(store.load, Migration(ini=tmp_path / "alembic.ini"))


def test_what_env_prints_does_not_matter(service: AlembicService, run: Run) -> None:
    noise = 'print("hello")\nimport os\nos.write(1, b"{}")\n'
    service.env.write_text(noise + service.env.read_text())
    assert states(run()) == {"s0": "ok", "s1": "ok"}


def test_an_environment_that_exits_is_told(service: AlembicService, run: Run) -> None:
    service.env.write_text('import sys\nsys.exit("no licence")\n')
    assert run()["s0"].error == "the migration process died: no licence"


def test_a_migration_that_runs_already_makes_its_shard_busy(
    cluster: Cluster, store: CatalogStore, service: AlembicService
) -> None:
    told: list[ShardReport] = []
    with cluster.connect("s1-p") as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
        reports = migrate(store.load, Migration(ini=service.ini, concurrency=1), told.append)
    assert [str(report.state) for report in reports] == ["ok", "busy"]
    assert tuple(told) == reports
