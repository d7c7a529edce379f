"""The run directory: one for each user and port, safe from others; and who may claim it."""

import os
from pathlib import Path

import pytest

from shardrouter.config import ProxySettings
from shardrouter.errors import SettingsError
from shardrouter.proxy.host.run_directory import control_path, run_directory
from shardrouter.proxy.parent import claim
from shardrouter.proxy.parent.claim import claim_directory


def test_default_is_named_for_user_and_port(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = run_directory(ProxySettings(listen="127.0.0.1:7000"))
    assert found == tmp_path / f"shardrouter-{os.geteuid()}-7000"
    assert found.stat().st_mode & 0o777 == 0o700
    assert run_directory(ProxySettings(listen="[::]:7000")) == found
    by_socket = ProxySettings(listen="", unix_socket_directory=tmp_path)
    assert run_directory(by_socket).name.endswith("-6432")


def test_a_port_of_the_system_is_nobody_elses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = run_directory(ProxySettings(listen="127.0.0.1:0"))
    assert str(os.getpid()) in found.name
    claim_directory(found).release(is_handed_over=False)
    assert list(tmp_path.iterdir()) == []


def test_directories_open_to_others_are_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for path in (tmp_path, tmp_path / "link"):
        if path.name == "link":
            (tmp_path / "safe").mkdir(mode=0o700)
            path.symlink_to(tmp_path / "safe")  # another user could point it elsewhere
        with pytest.raises(SettingsError, match="not a directory of this user alone"):
            run_directory(ProxySettings(run_directory=path))
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="File exists"):
        run_directory(ProxySettings(run_directory=tmp_path / "file"))


def test_an_owner_that_does_not_answer_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(claim, "CLAIM_SECONDS", 0.05)
    mine = claim_directory(tmp_path)
    assert not mine.is_after_crash
    with pytest.raises(SettingsError, match=r"owns .*, and does not answer"):
        claim_directory(tmp_path)
    control_path(tmp_path).write_text("left by a crash")
    os.close(mine.lock)
    again = claim_directory(tmp_path)
    assert again.is_after_crash
    again.release(is_handed_over=False)
    assert tmp_path.exists()


def test_a_directory_that_went_away(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        claim_directory(tmp_path / "gone")
