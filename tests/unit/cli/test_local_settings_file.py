"""The settings file of a local fleet: written, kept up to date, never taken from its owner."""

import tomllib
from pathlib import Path

import pytest

from shardrouter.cli.local_settings_file import LocalSettingsFile

OLD, NEW = "postgresql://postgres@127.0.0.1:1/catalog", "postgresql://postgres@127.0.0.1:2/catalog"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shardrouter.toml"


def write(path: Path, dsn: str, data: str = "/data") -> bool:
    return LocalSettingsFile.of(path, Path(data), dsn).write()


def test_new_file_names_the_catalog(path: Path) -> None:
    assert write(path, OLD)
    assert tomllib.loads(path.read_text()) == {"catalog": {"dsn": OLD}}
    assert [entry.name for entry in path.parent.iterdir()] == ["shardrouter.toml"]


def test_own_file_gets_the_new_dsn_and_keeps_what_was_added(path: Path) -> None:
    write(path, OLD)
    path.write_text(path.read_text() + 'lease_seconds = 5\n[routing]\nzone = "a"\n')
    assert write(path, NEW)
    assert tomllib.loads(path.read_text()) == {
        "catalog": {"dsn": NEW, "lease_seconds": 5},
        "routing": {"zone": "a"},
    }


@pytest.mark.parametrize("text", ["", "# mine\n", f'[catalog]\ndsn = "{OLD}"\n'])
def test_foreign_file_is_left_alone(path: Path, text: str) -> None:
    path.write_text(text)
    assert not write(path, NEW)
    LocalSettingsFile.remove(path, Path("/data"))
    assert path.read_text() == text


def test_file_of_another_fleet_is_left_alone(path: Path) -> None:
    write(path, OLD, data="/other")
    assert not write(path, NEW)
    LocalSettingsFile.remove(path, Path("/data"))
    assert OLD in path.read_text()


def test_only_an_unchanged_file_is_removed(path: Path) -> None:
    write(path, OLD)
    text = path.read_text()
    path.write_text(f"{text}[pool]\nsize = 3\n")
    LocalSettingsFile.remove(path, Path("/data"))
    assert path.exists()
    path.write_text(text)
    LocalSettingsFile.remove(path, Path("/data"))
    assert not path.exists()
