"""Every revision of the catalog goes up and down, and the last one equals the schema in code."""

import importlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, MetaData, Table, inspect, text
from sqlalchemy.schema import CreateTable

from shardrouter.catalog import (
    CatalogStore,
    catalog_engine,
    install,
    installed_revision,
    known_revisions,
)
from shardrouter.catalog.schema import SCHEMA, VERSION_TABLE, metadata
from shardrouter.errors import CatalogUnavailable, SettingsError
from tests.support.topologies import small_topology

INSTALLERS = 4
CHECKS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
  FROM pg_constraint WHERE connamespace = 'shardrouter'::regnamespace ORDER BY 1, 2
"""


def alembic(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("shardrouter.migrations")))
    config.attributes["connection"] = connection
    return config


def script() -> ScriptDirectory:
    return ScriptDirectory(str(files("shardrouter.migrations")))


def go(engine: Engine, revision: str) -> None:
    with engine.connect() as connection:
        connection.execute(text("CREATE SCHEMA IF NOT EXISTS shardrouter"))
        move = command.downgrade if revision == "base" else command.upgrade
        move(alembic(connection), revision)
        connection.commit()


def down_to(engine: Engine, revision: str) -> None:
    with engine.connect() as connection:
        command.downgrade(alembic(connection), revision)
        connection.commit()


def snapshot(engine: Engine) -> tuple[list[Any], list[Any]]:
    """Return what is in the schema: tables with columns, indexes; constraints."""
    found = inspect(engine)
    tables = [
        (
            name,
            [
                (c["name"], str(c["type"]), c["nullable"], c["default"])
                for c in found.get_columns(name, SCHEMA)
            ],
            sorted(str(index) for index in found.get_indexes(name, SCHEMA)),
        )
        for name in sorted(found.get_table_names(SCHEMA))
    ]
    with engine.connect() as connection:
        return tables, [tuple(row) for row in connection.execute(text(CHECKS))]


def test_revisions_are_one_numbered_line() -> None:
    revisions = [r.revision for r in script().walk_revisions()][::-1]
    assert revisions == known_revisions()
    assert revisions == [f"{n:04}" for n in range(1, len(revisions) + 1)]
    for item in script().walk_revisions():
        assert item.path.rpartition("/")[2].startswith(f"r{item.revision}_")


def test_head_equals_the_schema_in_code(empty_engine: Engine) -> None:
    install(empty_engine)
    with empty_engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "version_table": VERSION_TABLE,
                "version_table_schema": SCHEMA,
                "include_schemas": True,
                "include_name": lambda name, kind, _: kind != "schema" or name == SCHEMA,
                "compare_type": True,
                "compare_server_default": True,
            },
        )
        assert compare_metadata(context, metadata) == []


def test_constraints_equal_those_in_code(empty_engine: Engine) -> None:
    """compare_metadata does not look at checks: make the tables from code and compare."""
    install(empty_engine)
    by_alembic = {tuple(row[:3]) for row in snapshot(empty_engine)[1]}
    with empty_engine.begin() as connection:
        connection.execute(text("DROP SCHEMA shardrouter CASCADE"))
        connection.execute(text("CREATE SCHEMA shardrouter"))
        for table in metadata.sorted_tables:
            connection.execute(CreateTable(table))
    by_code = {tuple(row[:3]) for row in snapshot(empty_engine)[1]}
    version_table = f"{SCHEMA}.{VERSION_TABLE}"
    assert {row for row in by_alembic if row[0] != version_table} == by_code


def test_every_revision_up_down_up(empty_engine: Engine) -> None:
    states = []
    for revision in known_revisions():
        go(empty_engine, revision)
        states.append(snapshot(empty_engine))
    for revision, state in list(zip(known_revisions(), states, strict=True))[-2::-1]:
        down_to(empty_engine, revision)
        assert snapshot(empty_engine) == state
    go(empty_engine, "base")
    assert [table for table, *_ in snapshot(empty_engine)[0]] == [VERSION_TABLE]
    go(empty_engine, "head")
    assert snapshot(empty_engine) == states[-1]


def test_upgrade_keeps_what_the_first_revision_held(empty_engine: Engine) -> None:
    go(empty_engine, known_revisions()[0])
    store = CatalogStore(empty_engine)
    fleet = store.found(64, actor="tests")
    store.publish(small_topology(), expected=fleet.epoch, actor="tests", reason="r")
    with pytest.raises(SettingsError, match="this shardrouter needs") as caught:
        store.check()
    assert "shardrouter init" in str(caught.value)
    assert install(empty_engine) == known_revisions()[-1]
    store.check()
    assert store.fleet().id == fleet.id
    assert store.load() == small_topology()


def test_install_twice_changes_nothing(empty_engine: Engine) -> None:
    assert installed_revision(empty_engine) is None
    install(empty_engine)
    before = snapshot(empty_engine)
    install(empty_engine)
    assert snapshot(empty_engine) == before
    assert installed_revision(empty_engine) == known_revisions()[-1]


def test_install_into_a_database_with_other_tables(empty_engine: Engine) -> None:
    with empty_engine.begin() as connection:
        connection.execute(text("CREATE TABLE public.fleet (id int)"))
        connection.execute(text("CREATE TABLE public.alembic_version (version_num text)"))
        connection.execute(text("INSERT INTO public.alembic_version VALUES ('of the app')"))
    install(empty_engine)
    CatalogStore(empty_engine).check()
    with empty_engine.connect() as connection:
        kept = connection.scalar(text("SELECT version_num FROM public.alembic_version"))
    assert kept == "of the app"


def test_failed_upgrade_leaves_nothing(empty_engine: Engine) -> None:
    with empty_engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA shardrouter"))
        connection.execute(text("CREATE TABLE shardrouter.journal (in_the_way int)"))
    with pytest.raises(Exception, match="already exists"):
        install(empty_engine)
    assert inspect(empty_engine).get_table_names(SCHEMA) == ["journal"]


def test_threads_installing_at_once_do_not_collide(empty_catalog: str) -> None:
    engines = [catalog_engine(empty_catalog) for _ in range(INSTALLERS)]
    try:
        with ThreadPoolExecutor(INSTALLERS) as pool:
            assert set(pool.map(install, engines)) == {known_revisions()[-1]}
    finally:
        for engine in engines:
            engine.dispose()


def test_processes_installing_at_once_do_not_collide(empty_catalog: str) -> None:
    code = (
        "import sys; from shardrouter.catalog import catalog_engine, install;"
        "engine = catalog_engine(sys.argv[1]); sys.stdin.readline(); print(install(engine))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, empty_catalog],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        out, err = process.communicate(timeout=30)
        assert (out.strip(), process.returncode) == (known_revisions()[-1], 0), err


def test_whoever_waits_too_long_for_another_installer_says_so(
    empty_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The function of the same name hides the module of the package.
    module = importlib.import_module("shardrouter.catalog.install")
    monkeypatch.setattr(module, "INSTALL_WAIT_SECONDS", 0.2)
    with empty_engine.connect() as other:
        other.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": module.INSTALL_LOCK})
        with pytest.raises(CatalogUnavailable, match="another process has been installing"):
            install(empty_engine)
    install(empty_engine)


def test_older_shardrouter_on_a_newer_catalog_says_so(empty_engine: Engine) -> None:
    install(empty_engine)
    with empty_engine.begin() as connection:
        versions = Table(VERSION_TABLE, MetaData(), schema=SCHEMA, autoload_with=connection)
        connection.execute(versions.update().values(version_num="0999"))
    for call in (
        lambda: install(empty_engine),
        lambda: installed_revision(empty_engine),
        CatalogStore(empty_engine).check,
    ):
        with pytest.raises(SettingsError) as caught:
            call()
        said = str(caught.value)
        assert f"catalog is at revision 0999; shardrouter {version('shardrouter')}" in said
        assert "upgrade shardrouter on this machine" in said
