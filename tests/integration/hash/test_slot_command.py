"""``shardrouter slot`` as a user runs it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from shardrouter.cli.main import run
from shardrouter.topology import key_slot
from tests.support.cluster import Cluster


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and no word of a fleet in the environment."""
    for name in [name for name in os.environ if name.startswith("SHARDROUTER_")]:
        if name != "SHARDROUTER_PURE":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


Slot = Callable[..., Done]


@pytest.fixture
def slot(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Slot:
    """Run the command in this process: a new one would take most of the time to start."""

    def execute(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["shardrouter", "slot", *arguments])
        with pytest.raises(SystemExit) as end:
            run()
        out, err = capsys.readouterr()
        return Done(int(end.value.code or 0), out, err)

    return execute


@pytest.mark.usefixtures("shell")
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("42 --type int8", "slot 2658 of 4096"),
        ("-1 --type int4", "slot 4005 of 4096"),
        ("user:42 -t text --slots 16384", "slot 5709 of 16384"),
        ("550e8400-e29b-41d4-a716-446655440000 -t uuid", "slot 1481 of 4096"),
        ("42 user:42 -t int8 -t text", "slot 355 of 4096"),
        ("2000-01-02 -t date", "slot 4024 of 4096"),
    ],
)
def test_one_line(slot: Slot, arguments: str, line: str) -> None:
    done = slot(*arguments.split())
    assert (done.returncode, done.stdout, done.stderr) == (0, line + "\n", "")


@pytest.mark.usefixtures("shell")
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("x --type int8", 1, "error: 'x' is not a key of type int8"),
        ("70000 --type int2", 1, "error: the shard key 70000 does not fit into int2"),
        ("infinity --type date", 1, "hint: write it like 2013-01-31"),
        ("1 2 --type int8", 1, "error: 2 value(s) and 1 type(s)"),
        ("1 --type int8 --slots 1000", 1, "error: 1000 slots is not a power of two"),
        ("1 --type int8 --config other.toml", 1, "there is no settings file other.toml"),
        ("1 --type int8 --slots 64 --config other.toml", 1, "exclude each other"),
        ("1", 2, "Missing option '--type'"),
        ("1 --type numeric", 2, "'numeric' is not one of"),
    ],
)
def test_bad_input_is_told_in_few_words(slot: Slot, arguments: str, code: int, words: str) -> None:
    done = slot(*arguments.split())
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_configured_fleet_tells_shard_and_nodes(
    slot: Slot, cluster: Cluster, shell: Path
) -> None:
    topology = cluster.topology
    number = key_slot(42, topology.slots)
    owner = topology.owner(number)
    by_option = slot("42", "--type", "int8", "--config", str(cluster.settings_path))
    assert by_option.stdout == (
        f"slot {number} of {topology.slots}: shard {owner.id}, primary {owner.primary.id},"
        f" replicas {owner.replicas[0].id}\n"
    )
    found = shell / "shardrouter.toml"
    if found != cluster.settings_path:
        found.write_text(cluster.settings_path.read_text())
    by_file = json.loads(slot("42", "--type", "int8", "--output", "json").stdout)
    assert by_file == {
        "key": ["42"],
        "types": ["int8"],
        "slots": topology.slots,
        "slot": number,
        "epoch": 1,
        "shard": owner.id,
        "nodes": [{"id": n.id, "role": n.role, "dsn": n.dsn} for n in owner.nodes],
    }


@pytest.mark.usefixtures("shell")
def test_json_without_a_fleet(slot: Slot) -> None:
    done = slot("42", "--type", "int8", "-o", "json")
    assert json.loads(done.stdout) == {
        "key": ["42"],
        "types": ["int8"],
        "slots": 4096,
        "slot": 2658,
    }


@pytest.mark.usefixtures("shell")
def test_the_installed_command() -> None:
    command = Path(sys.executable).with_name("shardrouter")
    done = subprocess.run(
        [command, "slot", "42", "--type", "int8"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "slot 2658 of 4096\n", "")
