"""``shardrouter init`` and ``config`` on a real catalog database."""

from pathlib import Path

import pytest

from shardrouter.catalog import CatalogStore, known_revisions
from shardrouter.config import load_settings
from shardrouter.errors import SettingsError
from tests.integration.cli.conftest import Run
from tests.support.command import shardrouter

FILE = Path("shardrouter.toml")


def test_dry_run_changes_nothing(run: Run, catalog: str, store_now: CatalogStore) -> None:
    said = run("init", "--catalog", catalog, "--dry-run", "-o", "json")
    assert said.code == 0
    assert said.data["done"] == []
    assert [step.split()[0] for step in said.data["to_do"]] == ["install", "found", "write"]
    assert not FILE.exists()
    with pytest.raises(SettingsError):
        store_now.check()


def test_installs_founds_and_writes_once(run: Run, catalog: str, store_now: CatalogStore) -> None:
    first = run("init", "--catalog", catalog, "--slots", "256", "-o", "json")
    assert first.code == 0
    assert len(first.data["done"]) == 3
    assert (first.data["slots"], first.data["epoch"]) == (256, 0)
    assert store_now.fleet().slots == 256
    assert load_settings().catalog.dsn == catalog
    assert FILE.stat().st_mode & 0o777 == 0o600
    before = FILE.read_text()
    for again in (("--catalog", catalog), (), ("--slots", "256")):
        said = run("init", *again, "-o", "json")
        assert (said.code, said.data["done"]) == (0, [])
        assert said.data["fleet"] == first.data["fleet"]
    assert FILE.read_text() == before


def test_says_what_it_did_and_what_is_next(run: Run, catalog: str) -> None:
    said = run("init", "--catalog", catalog)
    assert f"done: install the catalog at revision {known_revisions()[-1]}" in said.out
    assert "done: found a fleet of 4096 slots" in said.out
    assert "next: `shardrouter shard add s0" in said.out
    assert "nothing to do" in run("init").out


def test_refusals(founded: Run, catalog: str) -> None:
    other = founded("init", "--slots", "128")
    assert (other.code, "64 slots for life, not 128" in other.err) == (1, True)
    elsewhere = founded("init", "--catalog", "postgresql://db9/other")
    assert elsewhere.code == 1
    assert "names another catalog" in elsewhere.err
    assert "--config" in elsewhere.err
    assert founded("init", "--slots", "100").code == 2
    assert founded("init", "--catalog", "just words").code == 1


def test_settings_file_that_cannot_be_written(run: Run, catalog: str) -> None:
    said = run("init", "--catalog", catalog, "--config", "no/such/folder/s.toml")
    assert said.code == 1
    assert "cannot be written" in said.err


def test_catalog_that_is_not_there(run: Run) -> None:
    said = run("init", "--catalog", "postgresql://127.0.0.1:1/catalog")
    assert said.code == 1
    assert "the catalog does not answer" in said.err
    assert "hint:" in said.err
    assert not FILE.exists()


def test_without_settings_the_hint_says_how_to_get_them(tmp_path: Path) -> None:
    done = shardrouter("topology", "show", cwd=tmp_path)
    assert done.returncode == 1
    assert "shardrouter up" in done.stderr
    assert "shardrouter init" in done.stderr
    assert "Traceback" not in done.stderr


def test_database_without_a_catalog(run: Run, catalog: str) -> None:
    FILE.write_text(f'[catalog]\ndsn = "{catalog}"\n')
    said = run("shard", "list")
    assert said.code == 1
    assert "no catalog is installed there" in said.err
    assert "shardrouter init" in said.err


def test_config_check(founded: Run) -> None:
    assert founded("config", "check").out == "ok: shardrouter.toml\n"
    with FILE.open("a") as file:
        file.write("lease_seconds = 4\n[routing]\nmax_lag_seconds = 0.1\n")
    said = founded("config", "check", "-o", "json")
    assert (said.code, said.data["ok"], len(said.data["warnings"])) == (0, True, 2)
    assert founded("config", "check").err.count("warning: ") == 2
    with FILE.open("a") as file:
        file.write("zon = 1\n")
    said = founded("config", "check")
    assert said.code == 1
    assert "routing.zon is not a setting; did you mean routing.zone?" in said.err


def test_config_show(founded: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARDROUTER__POOL__SIZE", "7")
    rows = {row["key"]: row for row in founded("config", "show", "-o", "json").data}
    assert (rows["pool.size"]["value"], rows["pool.size"]["source"]) == (7, "environment")
    assert "password=***" in rows["catalog.dsn"]["value"]
    assert rows["catalog.dsn"]["source"] == "file"
    assert rows["gather.max_rows"]["source"] == "default"


def test_config_schema(run: Run) -> None:
    schema = run("config", "schema").data
    pool = schema["$defs"]["PoolSettings"]
    assert pool["properties"]["size"]["maximum"] == 1000
    assert pool["properties"]["size"]["description"]
    assert schema["additionalProperties"] is pool["additionalProperties"] is False
