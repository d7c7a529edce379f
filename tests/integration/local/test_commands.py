"""``shardrouter up``, ``status``, ``psql`` and ``down`` as a person types them."""

import json
import re
import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from shardrouter.catalog import CatalogStore, catalog_engine
from shardrouter.local import LocalFleet
from shardrouter.local.processes import processes_of
from shardrouter.topology import Topology
from tests.support.command import shardrouter
from tests.support.eventually import eventually


class Desk:
    """Where somebody stands and types commands."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def fleet(self) -> LocalFleet:
        return LocalFleet.open(self.path / ".shardrouter")

    def type(self, *arguments: str) -> CompletedProcess[str]:
        return shardrouter(*arguments, cwd=self.path)

    def status(self) -> dict[str, dict[str, Any]]:
        rows = json.loads(self.type("status", "--output", "json").stdout)
        return {row["node"]: row for row in rows}

    def published(self) -> Topology:
        settings = tomllib.loads((self.path / "shardrouter.toml").read_text())
        engine = catalog_engine(settings["catalog"]["dsn"])
        try:
            return CatalogStore(engine).load()
        finally:
            engine.dispose()


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    """A directory with a running fleet of one shard and a replica."""
    path = Path(tempfile.mkdtemp(prefix="shardrouter-test-")).resolve()
    path.chmod(0o711)
    up = shardrouter("up", "--shards", "1", cwd=path)
    assert up.returncode == 0, up.stderr
    assert up.stderr == "started a new fleet: 3 servers, epoch 1\n"
    yield Desk(path)
    LocalFleet.discard(path / ".shardrouter", finished=True)
    shutil.rmtree(path)


def test_up_publishes_the_topology_and_writes_the_settings(desk: Desk) -> None:
    topology = desk.published()
    nodes = [(node.id, node.dsn) for _, node in topology.nodes()]
    assert nodes == [(server.id, server.dsn()) for server in desk.fleet.nodes]
    assert topology.epoch == 1


def test_second_up_says_so_and_shows_the_same_table(desk: Desk) -> None:
    before = [server.pid for server in desk.fleet.servers]
    again = desk.type("up")
    assert again.returncode == 0
    assert again.stderr == "the fleet is running already: 3 servers, epoch 1\n"
    for server in desk.fleet.servers:
        assert re.search(rf"^{server.id} .* {server.port}  {server.dsn()}", again.stdout, re.M)
    assert 'next: Router.from_config("shardrouter.toml")' in again.stdout
    assert [server.pid for server in desk.fleet.servers] == before


def test_up_with_another_shape_is_refused(desk: Desk) -> None:
    other = desk.type("up", "--replicas", "3")
    assert other.returncode == 1
    assert "has 1 shards with 1 replicas, without --fsync\nhint: " in other.stderr
    assert desk.type("up", "--fsync").returncode == 1


def test_killed_replica_shows_in_status_and_rejoins_with_up(desk: Desk) -> None:
    assert {row["state"] for row in desk.status().values()} == {"running"}
    primary = desk.fleet.node("s0-p").pid
    desk.fleet.node("s0-r1").kill()
    status = desk.status()
    assert (status["s0-r1"]["running"], status["s0-p"]["running"]) == (False, True)
    table = desk.type("status").stdout.splitlines()
    assert re.match(r"s0-r1 +s0 +replica +\d+ +stopped", table[3])
    assert desk.type("up").stderr == "started s0-r1: 3 servers, epoch 1\n"
    row = eventually(lambda: (found := desk.status()["s0-r1"])["lag_bytes"] == 0 and found)
    assert row["lag_seconds"] == 0.0
    assert desk.fleet.node("s0-p").pid == primary


@pytest.mark.parametrize(
    ("where", "answer"),
    [
        (("--shard", "s0"), "app f"),
        (("--node", "s0-r1"), "app t"),
        (("--catalog",), "catalog f"),
    ],
)
def test_psql_connects_where_it_is_told(desk: Desk, where: tuple[str, ...], answer: str) -> None:
    query = "SELECT current_database(), pg_is_in_recovery()"
    told = desk.type("psql", *where, "--", "--no-psqlrc", "-At", "-F", " ", "-c", query)
    assert told.stdout == f"{answer}\n"


def test_psql_needs_one_place(desk: Desk) -> None:
    assert desk.type("psql").returncode == 2
    unknown = desk.type("psql", "--shard", "s7")
    assert (unknown.returncode, unknown.stderr) == (
        1,
        "error: there is no shard 's7'\nhint: shards: s0\n",
    )


def test_down_and_up_keep_data_and_publish_new_ports(desk: Desk) -> None:
    servers = desk.fleet.servers
    down = desk.type("down")
    assert down.stdout.startswith("stopped 3 servers; the data stay in .shardrouter")
    assert [processes_of(server.data) for server in servers] == [(), (), ()]
    assert desk.type("down").stdout.startswith("the fleet was not running")
    assert "hint: start it with `shardrouter up`" in desk.type("psql", "--catalog").stderr

    settings = desk.path / "shardrouter.toml"
    settings.write_text(settings.read_text() + "[pool]\nsize = 3\n")
    state = desk.path / ".shardrouter" / "fleet.json"
    state.write_text(state.read_text().replace(str(servers[0].port), "19999"))
    state.write_text(state.read_text().replace(str(servers[1].port), "19998"))
    again = desk.type("up")
    assert again.stderr == "started the fleet: 3 servers, epoch 2\n"
    assert tomllib.loads(settings.read_text())["pool"] == {"size": 3}
    assert desk.fleet.catalog.port == 19999
    assert desk.published().shard("s0").primary.dsn.endswith(":19998/app")


@pytest.mark.slow
def test_up_with_more_shards_makes_them_and_tells_how_they_join(open_path: Path) -> None:
    assert shardrouter("up", "--shards", "1", "--replicas", "0", cwd=open_path).returncode == 0
    more = shardrouter("up", "--shards", "2", cwd=open_path)
    added, join = more.stderr.splitlines()
    assert (more.returncode, added) == (0, "added shard s1: 3 servers, epoch 1")
    dsn = LocalFleet.open(open_path / ".shardrouter").node("s1-p").dsn()
    assert join == f"next: shardrouter shard add s1 --primary {dsn}"
    joined = shardrouter(*join.split()[2:], cwd=open_path)
    assert joined.returncode == 0, joined.stderr
    fewer = shardrouter("up", "--shards", "1", cwd=open_path)
    assert (fewer.returncode, "has 2 shards with 0 replicas" in fewer.stderr) == (1, True)
    assert shardrouter("up", "--shards", "2", cwd=open_path).stderr.startswith("the fleet is runn")


@pytest.mark.slow
def test_down_destroy_asks_for_yes_and_removes_everything(open_path: Path) -> None:
    assert shardrouter("up", "--shards", "1", "--replicas", "0", cwd=open_path).returncode == 0
    refused = shardrouter("down", "--destroy", cwd=open_path)
    assert refused.returncode == 1
    assert "hint: say so with `shardrouter down --destroy --yes`" in refused.stderr
    servers = LocalFleet.open(open_path / ".shardrouter").servers
    assert all(server.is_running() for server in servers)
    assert shardrouter("down", "--destroy", "--yes", cwd=open_path).returncode == 0
    assert [processes_of(server.data) for server in servers] == [(), ()]
    assert list(open_path.iterdir()) == []
    nothing = shardrouter("down", cwd=open_path)
    assert nothing.returncode == 1
    assert "hint: make one with `shardrouter up`" in nothing.stderr


@pytest.mark.slow
def test_fsync_is_kept_and_foreign_settings_are_left_alone(open_path: Path) -> None:
    (open_path / "shardrouter.toml").write_text("# mine\n")
    up = shardrouter("up", "--shards", "1", "--replicas", "0", "--fsync", cwd=open_path)
    assert up.returncode == 0
    assert "shardrouter.toml is not of this fleet and was left alone" in up.stderr
    assert (open_path / "shardrouter.toml").read_text() == "# mine\n"
    fleet = LocalFleet.open(open_path / ".shardrouter")
    fleet.stop()
    fleet.start()
    for server in fleet.servers:
        with server.connect() as connection:
            assert connection.execute("SHOW fsync").fetchone() == ("on",)
    fleet.destroy()
    assert (open_path / "shardrouter.toml").exists()
