"""A local fleet: made, stopped, started, killed, frozen, removed."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from shardrouter.errors import FleetError
from shardrouter.local import LocalFleet, LocalServer, ServerCondition, StopMode, fleet_status
from shardrouter.local.processes import listed_by_ps, processes_of
from shardrouter.topology import Role
from tests.support.eventually import eventually


@pytest.fixture(scope="module")
def fleet() -> Iterator[LocalFleet]:
    """One shard with a replica; every test leaves it running."""
    fleet = LocalFleet.temporary(shards=1, replicas=1)
    yield fleet
    fleet.destroy()


def run(fleet: LocalFleet, node: str, statement: str) -> None:
    with fleet.node(node).connect() as connection:
        connection.execute(statement.encode())


def one(fleet: LocalFleet, node: str, query: str) -> object:
    with fleet.node(node).connect() as connection:
        row = connection.execute(query.encode()).fetchone()
    return row and row[0]


def test_nodes_are_named_and_replicate(fleet: LocalFleet) -> None:
    assert [node.id for node in fleet.nodes] == ["s0-p", "s0-r1"]
    assert [node.role for node in fleet.nodes] == [Role.PRIMARY, Role.REPLICA]
    assert fleet.catalog.shard_id is None
    assert one(fleet, "s0-p", "SELECT pg_is_in_recovery()") is False
    assert one(fleet, "s0-r1", "SELECT pg_is_in_recovery()") is True
    slots = "SELECT string_agg(slot_name, ',') FROM pg_replication_slots WHERE active"
    assert one(fleet, "s0-p", slots) == "s0_r1"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("wal_level", "logical"),
        ("max_prepared_transactions", "64"),
        ("hot_standby_feedback", "on"),
        ("fsync", "off"),
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
        ("server_encoding", "UTF8"),
    ],
)
def test_settings_of_every_shard_node(fleet: LocalFleet, setting: str, value: str) -> None:
    for node in fleet.nodes:
        assert one(fleet, node.id, f"SHOW {setting}") == value


def test_topology_names_every_node(fleet: LocalFleet) -> None:
    topology = fleet.topology(slots=64, database="other")
    assert (topology.epoch, topology.slots) == (1, 64)
    assert [node.dsn for _, node in topology.nodes()] == [n.dsn("other") for n in fleet.nodes]


def test_unknown_node_and_shard_are_named_errors(fleet: LocalFleet) -> None:
    with pytest.raises(FleetError, match=r"no node 's9-p'\nhint: nodes: catalog, s0-p, s0-r1"):
        fleet.node("s9-p")
    with pytest.raises(FleetError, match="no shard 's9'\nhint: shards: s0"):
        fleet.primary("s9")


def test_data_survive_stop_and_start(fleet: LocalFleet) -> None:
    run(fleet, "s0-p", "CREATE TABLE kept AS SELECT 1 AS id")
    fleet.stop()
    fleet.stop()
    assert [processes_of(server.data) for server in fleet.servers] == [(), (), ()]
    assert {s.condition for s in fleet_status(fleet)} == {ServerCondition.STOPPED}
    LocalFleet.open(fleet.data).start()
    fleet.start()
    assert fleet.is_running()
    assert one(fleet, "s0-r1", "SELECT id FROM kept") == 1


def test_killed_replica_is_restarted_alone_and_catches_up(fleet: LocalFleet) -> None:
    replica, primary = fleet.node("s0-r1"), fleet.node("s0-p")
    survivor = primary.pid
    replica.kill()
    assert processes_of(replica.data) == ()
    assert (replica.data / "postmaster.pid").exists()
    run(fleet, "s0-p", "CREATE TABLE meanwhile AS SELECT 7 AS id")
    status = {s.server.id: s.condition for s in fleet_status(fleet)}
    assert status["s0-r1"] is ServerCondition.STOPPED
    fleet.start()
    assert primary.pid == survivor
    eventually(lambda: one(fleet, "s0-r1", "SELECT to_regclass('meanwhile')"))
    assert one(fleet, "s0-r1", "SELECT id FROM meanwhile") == 7


def test_killed_primary_starts_again_with_what_it_committed(fleet: LocalFleet) -> None:
    run(fleet, "s0-p", "CREATE TABLE committed AS SELECT 3 AS id")
    fleet.node("s0-p").kill()
    with pytest.raises(psycopg.OperationalError):
        one(fleet, "s0-p", "SELECT 1")
    fleet.start()
    assert one(fleet, "s0-p", "SELECT id FROM committed") == 3


def test_start_takes_another_port_when_its_own_is_taken(fleet: LocalFleet) -> None:
    primary = fleet.node("s0-p")
    old = primary.port
    primary.stop(StopMode.IMMEDIATE)
    with socket.create_server(("127.0.0.1", old)):
        fleet.start()
        assert primary.port != old
        run(fleet, "s0-p", "CREATE TABLE on_new_port AS SELECT 5 AS id")
        eventually(lambda: one(fleet, "s0-r1", "SELECT to_regclass('on_new_port')"))
    assert LocalFleet.open(fleet.data).node("s0-p").port == primary.port


def test_frozen_server_hangs_until_it_is_thawed(fleet: LocalFleet) -> None:
    primary = fleet.node("s0-p")
    with primary.connect() as connection:
        connection.pgconn.send_query(b"SELECT 1")
        assert eventually(lambda: _has_answer(connection))
        primary.freeze()
        assert primary.is_running()
        states = [_state(pid) for pid in processes_of(primary.data)]
        assert set(states) == {"T"}
        connection.pgconn.send_query(b"SELECT 2")
        primary.thaw()
        assert eventually(lambda: _has_answer(connection))


def test_stop_ends_a_frozen_server(fleet: LocalFleet) -> None:
    fleet.node("s0-r1").freeze()
    fleet.node("s0-r1").stop()
    assert not fleet.node("s0-r1").is_running()
    fleet.start()


def test_ps_finds_the_processes_that_proc_shows(fleet: LocalFleet) -> None:
    server = fleet.node("s0-p")
    settled = eventually(lambda: set(processes_of(server.data)) == set(listed_by_ps(server.data)))
    assert settled
    assert server.pid in listed_by_ps(server.data)
    assert listed_by_ps(Path("/nowhere")) == ()


def test_status_tells_lag(fleet: LocalFleet) -> None:
    with fleet.node("s0-r1").connect() as replica:
        replica.execute("SELECT pg_wal_replay_pause()")
        run(fleet, "s0-p", "CREATE TABLE behind AS SELECT generate_series(1, 999)")
        eventually(lambda: (fleet_status(fleet)[2].lag_bytes or 0) > 10_000)
        replica.execute("SELECT pg_wal_replay_resume()")
    eventually(lambda: fleet_status(fleet)[2].lag_bytes == 0)
    assert fleet_status(fleet)[2].lag_seconds == 0.0
    assert fleet_status(fleet)[1].lag_bytes is None


def test_directory_that_is_taken_is_refused(fleet: LocalFleet, tmp_path: Path) -> None:
    with pytest.raises(FleetError, match=r"holds a local fleet already\nhint: start it"):
        LocalFleet.create(fleet.data)
    (tmp_path / "letter").touch()
    with pytest.raises(FleetError, match="is not empty: it holds letter"):
        LocalFleet.create(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["letter"]
    with pytest.raises(FleetError, match="is no local fleet in"):
        LocalFleet.open(tmp_path)
    with pytest.raises(FleetError, match="0 shards with 1 replicas is not possible"):
        LocalFleet.create(tmp_path / "new", shards=0)


def test_destroy_leaves_no_process_and_no_file(private_fleet: Callable[..., LocalFleet]) -> None:
    fleet = private_fleet(1, 1)
    directories = [server.data for server in fleet.servers]
    fleet.node("s0-p").kill()
    segment = (directories[1] / "postmaster.pid").read_text().splitlines()[6].split()[1]
    fleet.destroy()
    fleet.destroy()
    assert [processes_of(directory) for directory in directories] == [(), (), ()]
    assert not fleet.data.exists()
    table = Path("/proc/sysvipc/shm")
    if table.exists():
        assert segment not in [line.split()[1] for line in table.read_text().splitlines()]


def test_a_shard_joins_a_running_fleet(private_fleet: Callable[..., LocalFleet]) -> None:
    fleet = private_fleet(1, 1)
    before = [server.pid for server in fleet.servers]
    assert fleet.add_shard() == "s1"
    assert [server.id for server in fleet.servers][3:] == ["s1-p", "s1-r1"]
    run(fleet, "s1-p", "CREATE TABLE told AS SELECT 9 AS id")
    eventually(lambda: one(fleet, "s1-r1", "SELECT to_regclass('told')"))
    assert [server.pid for server in fleet.servers][:3] == before
    assert [s.port for s in LocalFleet.open(fleet.data).servers] == [s.port for s in fleet.servers]
    directories = [server.data for server in fleet.servers]
    fleet.destroy()
    assert [processes_of(directory) for directory in directories] == [()] * 5


def test_a_shard_that_cannot_be_made_leaves_nothing(
    private_fleet: Callable[..., LocalFleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = private_fleet(1, 0)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(LocalServer, "make_database", _interrupt)
        fleet.add_shard()
    assert [server.id for server in fleet.servers] == ["catalog", "s0-p"]
    assert processes_of(fleet.place / "s1-p") == ()
    assert not (fleet.place / "s1-p").exists()
    assert one(fleet, "s0-p", "SELECT 1") == 1
    assert not LocalFleet.discard(fleet.data)


def _interrupt(server: LocalServer) -> None:
    raise KeyboardInterrupt


def _has_answer(connection: psycopg.Connection[tuple[object, ...]]) -> bool:
    connection.pgconn.consume_input()
    if connection.pgconn.is_busy():
        return False
    while connection.pgconn.get_result():
        pass
    return True


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
