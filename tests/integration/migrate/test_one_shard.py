"""What the process of one shard does, run in this one: quicker, and with its logging left out."""

from pathlib import Path
from typing import Any

import pytest

from shardrouter.control.migrate_shard import MIGRATION_LOCK, Answer, Request, run
from shardrouter.postgres import sqlalchemy_url
from tests.support.alembic_service import AlembicService
from tests.support.cluster import Cluster

SECTION = "config.get_section(config.config_ini_section, {})"


@pytest.fixture(autouse=True)
def quiet(service: AlembicService) -> None:
    keep_loggers(service)


def keep_loggers(service: AlembicService) -> None:
    """alembic.ini would switch off the loggers of the other tests."""
    text = service.env.read_text()
    assert "fileConfig(config.config_file_name)" in text
    service.env.write_text(text.replace("fileConfig(config.config_file_name)", "pass"))


def ask(cluster: Cluster, service: AlembicService, **changes: Any) -> Answer:
    dsn = cluster.dsn("s0-p")
    given: dict[str, Any] = {
        "shard": "s0",
        "dsn": dsn,
        "url": sqlalchemy_url(dsn),
        "ini": str(service.ini),
        "action": "upgrade",
        "target": "head",
        "dry_run": False,
    }
    return run(Request(**{**given, **changes}))


def has_orders(cluster: Cluster) -> bool:
    with cluster.connect("s0-p") as connection:
        return connection.execute("SELECT to_regclass('orders') IS NOT NULL").fetchone() == (True,)


def test_it_applies_the_steps_and_tells_them(cluster: Cluster, service: AlembicService) -> None:
    service.add("r2", "ALTER TABLE orders ADD note text")
    steps = ["r1 revision r1", "r2 revision r2"]
    assert ask(cluster, service, target="r1") == Answer(False, ["r1"], ["r2"], steps[:1])
    assert ask(cluster, service) == Answer(False, ["r2"], ["r2"], steps[1:])
    assert ask(cluster, service) == Answer(False, ["r2"], ["r2"], [])
    back = ask(cluster, service, action="downgrade", target="base")
    assert back == Answer(False, [], ["r2"], steps[::-1])
    assert not has_orders(cluster)


@pytest.mark.parametrize("how", [{"dry_run": True}, {"action": "status", "target": "heads"}])
def test_a_look_changes_nothing(
    cluster: Cluster, service: AlembicService, how: dict[str, Any]
) -> None:
    assert ask(cluster, service, **how) == Answer(False, [], ["r1"], ["r1 revision r1"])
    with cluster.connect("s0-p") as connection:
        found = connection.execute("SELECT to_regclass('alembic_version')::text").fetchone()
    assert found == (None,)
    assert not has_orders(cluster)


def test_a_dry_run_of_a_downgrade(cluster: Cluster, service: AlembicService) -> None:
    ask(cluster, service)
    back = ask(cluster, service, action="downgrade", target="base", dry_run=True)
    assert back == Answer(False, ["r1"], ["r1"], ["r1 revision r1"])
    assert has_orders(cluster)


def test_a_failure_tells_how_far_the_shard_came(cluster: Cluster, service: AlembicService) -> None:
    service.add("r2", "CREATE TABLE notes (id int)")
    text = service.env.read_text()
    once = "context.configure(\n            connection=connection,"
    assert once in text
    service.env.write_text(text.replace(once, f"{once} transaction_per_migration=True,"))
    with cluster.connect("s0-p") as connection:
        connection.execute("CREATE TABLE notes ()")
    assert ask(cluster, service) == Answer(
        False, ["r1"], ["r2"], ["r1 revision r1"], 'relation "notes" already exists'
    )


def test_an_async_environment_runs_unmodified(cluster: Cluster, tmp_path: Path) -> None:
    service = AlembicService(tmp_path / "other", template="async")
    keep_loggers(service)
    service.add("r1", "CREATE TABLE orders (id bigint PRIMARY KEY, user_id bigint NOT NULL)")
    assert ask(cluster, service).error is None
    assert has_orders(cluster)


def test_an_environment_with_a_database_of_its_own_is_stopped(
    cluster: Cluster, service: AlembicService
) -> None:
    text = service.env.read_text()
    assert SECTION in text
    other = sqlalchemy_url(cluster.dsn("s1-p"))
    service.env.write_text(text.replace(SECTION, f'{{"sqlalchemy.url": "{other}"}}'))
    assert "env.py does not use the URL it is given" in (ask(cluster, service).error or "")
    with cluster.connect("s1-p") as connection:
        found = connection.execute("SELECT to_regclass('orders')::text").fetchone()
    assert found == (None,)


def test_a_second_migration_is_kept_out_and_a_look_is_not(
    cluster: Cluster, service: AlembicService
) -> None:
    with cluster.connect("s0-p") as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
        assert ask(cluster, service) == Answer(is_busy=True)
        assert ask(cluster, service, dry_run=True).steps == ["r1 revision r1"]


def test_a_revision_nobody_knows_is_told(cluster: Cluster, service: AlembicService) -> None:
    error = ask(cluster, service, target="nowhere").error
    assert error == "Can't locate revision identified by 'nowhere'"


def test_arguments_reach_the_environment(cluster: Cluster, service: AlembicService) -> None:
    line = "from alembic import context\nseen = context.get_x_argument(as_dictionary=True)\n"
    line += 'assert seen == {"tenant": "a", "shard": "s0"}, seen\n'
    service.env.write_text(line + service.env.read_text())
    assert ask(cluster, service, arguments=("tenant=a",)).error is None
    assert "{'shard': 's0'}" in (ask(cluster, service).error or "")


def test_an_unreachable_server_is_told(cluster: Cluster, service: AlembicService) -> None:
    dsn = "postgresql://postgres@127.0.0.1:1/x"
    error = ask(cluster, service, dsn=dsn, url=sqlalchemy_url(dsn)).error or ""
    assert "connection refused" in error.lower()
