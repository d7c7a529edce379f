"""Commands that die half way: what they leave is recognised and removed."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shardrouter.local import LocalFleet
from shardrouter.local.processes import processes_of
from tests.support.command import shardrouter, started_shardrouter
from tests.support.eventually import eventually

STAGES: dict[str, Callable[[Path], bool]] = {
    "marker written": lambda data: (data / "fleet.making.json").exists(),
    "primary being made": lambda data: (data / "servers/s0-p/PG_VERSION").exists(),
    "primary started": lambda data: (data / "servers/s0-p/postmaster.pid").exists(),
    "replica being made": lambda data: (data / "servers/s0-r1").exists(),
}
LAST_STAGE = "replica being made"
SLOW = pytest.mark.slow


def wait_for(stage: str, up: subprocess.Popen[str], data: Path) -> None:
    """Wait until the command has come so far, or has ended before its time."""
    eventually(lambda: STAGES[stage](data) or up.poll() is not None, deadline_seconds=30)
    if up.poll() is not None and not STAGES[stage](data):
        pytest.fail(f"up ended with {up.returncode}: {up.communicate()[0]}")


def left(data: Path) -> list[int]:
    directories = [data / "servers" / name for name in ("catalog", "s0-p", "s0-r1")]
    return [pid for directory in directories for pid in processes_of(directory)]


@pytest.mark.parametrize(
    "stage",
    [name if name == LAST_STAGE else pytest.param(name, marks=SLOW) for name in STAGES],
)
def test_kill_9_of_up_leaves_nothing_that_cannot_be_removed(stage: str, open_path: Path) -> None:
    data = open_path / ".shardrouter"
    up = started_shardrouter("up", "--shards", "1", cwd=open_path)
    wait_for(stage, up, data)
    up.kill()
    up.communicate()
    if LocalFleet.exists(data):
        pytest.skip("it was faster than the test")
    assert LocalFleet.discard(data)
    assert left(data) == []
    assert list(open_path.iterdir()) == []


@pytest.mark.slow
def test_up_starts_anew_over_what_a_killed_one_left(open_path: Path) -> None:
    data = open_path / ".shardrouter"
    up = started_shardrouter("up", "--shards", "1", cwd=open_path)
    wait_for("primary started", up, data)
    up.kill()
    up.communicate()
    again = shardrouter("up", "--shards", "1", "--replicas", "0", cwd=open_path)
    assert again.returncode == 0
    assert "removed what an interrupted command left in .shardrouter" in again.stderr
    assert [server.id for server in LocalFleet.open(data).servers] == ["catalog", "s0-p"]


@pytest.mark.slow
def test_kill_9_while_a_shard_is_added_leaves_the_others_as_they_were(open_path: Path) -> None:
    data = open_path / ".shardrouter"
    fleet = LocalFleet.create(data, shards=1, replicas=0)
    up = started_shardrouter("up", "--shards", "2", cwd=open_path)
    begun = data / "servers/s1-p/PG_VERSION"
    eventually(lambda: begun.exists() or up.poll() is not None, deadline_seconds=30)
    up.kill()
    up.communicate()
    if len(LocalFleet.open(data).servers) > 2:
        pytest.skip("it was faster than the test")
    again = shardrouter("up", cwd=open_path)
    assert again.stderr.startswith("the fleet is running already: 2 servers")
    assert processes_of(data / "servers/s1-p") == ()
    assert not (data / "servers/s1-p").exists()
    assert fleet.is_running()


def test_ctrl_c_cleans_up_by_itself(open_path: Path) -> None:
    data = open_path / ".shardrouter"
    up = started_shardrouter("up", "--shards", "1", cwd=open_path)
    wait_for("primary being made", up, data)
    up.send_signal(signal.SIGINT)
    up.communicate()
    assert up.returncode == 130
    assert left(data) == []
    assert list(open_path.iterdir()) == []


@pytest.mark.slow
def test_half_destroyed_fleet_is_removed_by_the_next_down(
    open_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = open_path / ".shardrouter"
    LocalFleet.create(data, shards=1, replicas=0)
    monkeypatch.setattr("shardrouter.local.leftovers.remove_place", _die)
    with pytest.raises(KeyboardInterrupt):
        LocalFleet.open(data).destroy()
    monkeypatch.undo()
    assert not LocalFleet.exists(data)
    down = shardrouter("down", cwd=open_path)
    assert down.stdout == "removed what an interrupted command left in .shardrouter\n"
    assert left(data) == []
    assert not data.exists()


OWNER = """
import sys, threading
from pathlib import Path
from shardrouter.local import LocalFleet
made = []
# In a thread that ends: the servers are bound to the process, not to the thread.
thread = threading.Thread(target=lambda: made.append({make}))
thread.start()
thread.join()
print(made[0].data, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("make", "is_removed"),
    [
        ("LocalFleet.temporary(1, 1)", True),
        pytest.param(
            "LocalFleet.create(Path(sys.argv[1]), 1, 1, attached=True)", False, marks=SLOW
        ),
    ],
)
def test_servers_die_with_the_process_they_are_attached_to(
    make: str, is_removed: bool, open_path: Path
) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER.format(make=make), str(open_path / ".shardrouter")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    data = Path(owner.stdout.readline().strip())
    servers = LocalFleet.open(data).servers
    assert all(server.is_running() for server in servers)
    owner.kill()
    owner.communicate()
    eventually(lambda: not any(processes_of(server.data) for server in servers))
    if is_removed:
        eventually(lambda: not data.exists())
    else:
        LocalFleet.open(data).start()
        assert LocalFleet.open(data).is_running()


def _die(*_: object) -> None:
    raise KeyboardInterrupt
