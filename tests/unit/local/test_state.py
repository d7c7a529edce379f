"""What a fleet's directory says, and who may work on it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from shardrouter.errors import FleetError
from shardrouter.local import state
from shardrouter.local.state import (
    LOCK_FILE,
    FleetState,
    ServerState,
    fleet_errors,
    locked,
    read_marker,
    write_marker,
)
from shardrouter.topology import NodeId, Role, ShardId

STATE = FleetState(
    place=Path("/data/servers"),
    binaries=Path("/usr/lib/postgresql/18/bin"),
    major=18,
    fsync=True,
    servers=(
        ServerState(NodeId("catalog"), None, Role.PRIMARY, 20000),
        ServerState(NodeId("s0-p"), ShardId("s0"), Role.PRIMARY, 20001),
        ServerState(NodeId("s0-r1"), ShardId("s0"), Role.REPLICA, 20002),
    ),
)


def test_round_trip(tmp_path: Path) -> None:
    assert FleetState.read(tmp_path) is None
    STATE.write(tmp_path)
    assert FleetState.read(tmp_path) == STATE
    moved = replace(STATE, fsync=False)
    moved.write(tmp_path)
    assert FleetState.read(tmp_path) == moved
    assert [entry.name for entry in tmp_path.iterdir()] == ["fleet.json"]


def test_marker_names_the_place(tmp_path: Path) -> None:
    assert read_marker(tmp_path) is None
    write_marker(tmp_path, Path("/var/tmp/shardrouter-1"))
    assert read_marker(tmp_path) == Path("/var/tmp/shardrouter-1")
    (tmp_path / "fleet.making.json").write_text("{")
    with pytest.raises(FleetError, match=r"fleet.making.json cannot be read"):
        read_marker(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "place": 3}'])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "fleet.json").write_text(text)
    with pytest.raises(FleetError, match=r"fleet.json cannot be read.*\nhint: was it written"):
        FleetState.read(tmp_path)


def test_unknown_role_is_refused(tmp_path: Path) -> None:
    STATE.write(tmp_path)
    body = json.loads((tmp_path / "fleet.json").read_text())
    body["servers"][0]["role"] = "leader"
    (tmp_path / "fleet.json").write_text(json.dumps(body))
    with pytest.raises(FleetError, match="'leader' is not a valid Role"):
        FleetState.read(tmp_path)


def test_lock_keeps_a_second_command_out_until_it_falls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "LOCK_TIMEOUT_SECONDS", 0.0)
    with locked(tmp_path):
        with pytest.raises(FleetError, match="another command has been working"), locked(tmp_path):
            pytest.fail("two commands at once")
        (tmp_path / LOCK_FILE).unlink()  # as removing the fleet does
        with locked(tmp_path):
            assert (tmp_path / LOCK_FILE).exists()
    with locked(tmp_path):
        pass


def test_errors_of_the_system_become_ours(tmp_path: Path) -> None:
    with pytest.raises(FleetError, match=r"No space left.*\nhint: is there room"):
        with fleet_errors(tmp_path):
            raise OSError(28, "No space left on device")
