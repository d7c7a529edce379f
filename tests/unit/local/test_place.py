"""Only what a fleet can have made is ever deleted."""

from pathlib import Path

import pytest

from shardrouter.errors import FleetError
from shardrouter.local.place import check_maker, remove_place, remove_strangers


def test_place_of_the_fleet_is_removed_with_all_in_it(tmp_path: Path) -> None:
    place = tmp_path / "servers"
    (place / "s0-p" / "base").mkdir(parents=True)
    (place / "s0-p" / "base" / "file").touch()
    remove_place(tmp_path, place)
    remove_place(tmp_path, place)
    assert list(tmp_path.iterdir()) == []


def test_only_what_is_no_server_of_the_fleet_is_a_stranger(tmp_path: Path) -> None:
    place = tmp_path / "servers"
    for name in ("logs", "postgres", "s0-p", "s1-p"):
        (place / name).mkdir(parents=True)
    remove_strangers(tmp_path, place, ["catalog", "s0-p"])
    assert sorted(entry.name for entry in place.iterdir()) == ["logs", "postgres", "s0-p"]


@pytest.mark.parametrize("name", ["", "other", "servers/s0-p", "shardrouter-elsewhere"])
def test_any_other_directory_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir(parents=True, exist_ok=True)
    with pytest.raises(FleetError, match="is not a directory of a fleet of this user"):
        remove_place(tmp_path, tmp_path / name)
    assert (tmp_path / name).exists()


def test_symbolic_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "servers").symlink_to(tmp_path / "precious")
    with pytest.raises(FleetError, match="is not a directory of a fleet"):
        remove_place(tmp_path, tmp_path / "servers")
    assert (tmp_path / "precious").exists()


def test_lost_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(FleetError, match=r"are gone: there is no .*\nhint: start anew with"):
        check_maker(tmp_path, tmp_path / "servers")
