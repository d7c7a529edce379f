"""The scripts of the compose file, run against a local fleet instead of containers."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from shardrouter.local import LocalFleet, LocalServer
from tests.support.eventually import eventually

DOCKER = Path(__file__).parents[3] / "docker"
PASSWORDS = {
    "APP_PASSWORD": "it's app",
    "ADMIN_PASSWORD": "admin",
    "SHARDROUTER_PASSWORD": "shardrouter",
    "REPLICATION_PASSWORD": "it's a replica",
}


@pytest.fixture(scope="module")
def fleet() -> Iterator[LocalFleet]:
    made = LocalFleet.temporary(shards=2, replicas=1)
    yield made
    made.destroy()


def run(script: str, *arguments: str, fleet: LocalFleet, **environment: str) -> str:
    path = f"{fleet.binaries.directory}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["/bin/sh", str(DOCKER / script), *arguments],
        env={**PASSWORDS, **environment, "PATH": path},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def connection_string(server: LocalServer, user: str) -> str:
    given = psycopg.conninfo.conninfo_to_dict(server.dsn("app"))
    return " ".join(f"{key}={value}" for key, value in {**given, "user": user}.items())


def make_roles(fleet: LocalFleet) -> str:
    first, second = (fleet.primary(shard) for shard in ("s0", "s1"))
    return run(
        "roles.sh",
        fleet=fleet,
        FIRST_SHARD=connection_string(first, "postgres"),
        OTHER_SHARDS=connection_string(second, "postgres"),
        LOGIN_FUNCTION=str(DOCKER.parent / "shardrouter" / "proxy" / "login" / "function.sql"),
    )


def verifiers(server: LocalServer) -> dict[str, str]:
    with server.connect("app") as connection:
        rows = connection.execute("SELECT rolname, rolpassword FROM pg_authid WHERE rolcanlogin")
        return {name: verifier for name, verifier in rows if verifier}


def test_roles_have_the_same_verifiers_on_every_shard(fleet: LocalFleet) -> None:
    for _ in range(2):  # may be repeated
        make_roles(fleet)
        first, second = (verifiers(fleet.primary(shard)) for shard in ("s0", "s1"))
        assert first == second
        assert set(first) == {"app", "shardrouter", "shardrouter_admin"}
        assert all(each.startswith("SCRAM-SHA-256$") for each in first.values())


def found_fleet(fleet: LocalFleet) -> str:
    nodes = {"SHARDROUTER__CATALOG__DSN": fleet.catalog.dsn()}
    for shard in ("s0", "s1"):
        primary, replica = fleet.primary(shard), fleet.node(f"{shard}-r1")
        nodes[f"{shard}_primary"] = connection_string(primary, "shardrouter")
        nodes[f"{shard}_replica"] = connection_string(replica, "shardrouter")
    return run("fleet.sh", "s0", "s1", fleet=fleet, **nodes)


@pytest.fixture(scope="module")
def founded(fleet: LocalFleet) -> LocalFleet:
    make_roles(fleet)
    found_fleet(fleet)
    return fleet


@pytest.mark.slow
def test_the_fleet_is_founded_by_the_proxys_role_and_that_may_be_repeated(
    founded: LocalFleet,
) -> None:
    again = found_fleet(founded)
    assert "shard s0: is there" in again
    assert "shard s1: is there" in again


def test_the_proxy_lets_the_roles_in_by_their_passwords(
    founded: LocalFleet, tmp_path: Path
) -> None:
    environment = {
        "SHARDROUTER__CATALOG__DSN": founded.catalog.dsn(),
        "SHARDROUTER__PROXY_AUTH__FUNCTION": "shardrouter.proxy_login",
        "SHARDROUTER__PROXY_AUTH__FUNCTION_DSN": connection_string(
            founded.primary("s0"), "shardrouter"
        ),
        # As for clients of other machines: these are trusted by default.
        "SHARDROUTER__PROXY_AUTH__RULES": '["host all all all scram-sha-256"]',
        "SHARDROUTER__PROXY__LISTEN": "127.0.0.1:0",
        "SHARDROUTER__PROXY__HTTP_LISTEN": "127.0.0.1:0",
        "SHARDROUTER__PROXY__WORKERS": "1",
        "SHARDROUTER__PROXY__RUN_DIRECTORY": str(tmp_path / "run"),
    }
    with started_proxy(environment, tmp_path / "log") as port:
        where = f"host=127.0.0.1 port={port} options='-c shardrouter.shard=s1'"
        with psycopg.connect(f"{where} dbname=app user=app", password="it's app") as client:
            assert client.execute("SELECT current_user").fetchone() == ("app",)
            client.execute("CREATE TABLE mine (id int)")
        admin = f"{where} dbname=shardrouter user=shardrouter_admin"
        with psycopg.connect(admin, password="admin") as connection:
            assert len(connection.execute("SHOW SHARDS").fetchall()) == 2
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(f"{where} dbname=app user=app", password="wrong")


@contextmanager
def started_proxy(environment: dict[str, str], log: Path) -> Iterator[int]:
    """Start the proxy as its image does, by settings from the environment alone."""
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [Path(sys.executable).parent / "shardrouter", "proxy"],
            cwd=log.parent,
            env={**os.environ, **environment},
            stderr=stderr,
        )
    try:
        eventually(lambda: "proxy_serves" in log.read_text() or process.poll() is not None, 30)
        [port] = re.findall(r"proxy_listens address=127\.0\.0\.1:(\d+)", log.read_text())
        yield int(port)
    finally:
        process.terminate()
        process.wait(20)


def test_the_proxys_role_may_ask_for_verifiers_and_not_read_them(fleet: LocalFleet) -> None:
    make_roles(fleet)
    with psycopg.connect(connection_string(fleet.primary("s1"), "shardrouter")) as connection:
        row = connection.execute("SELECT shardrouter.proxy_login('app')").fetchone()
        assert row == (verifiers(fleet.primary("s0"))["app"],)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT rolpassword FROM pg_authid")
    with psycopg.connect(connection_string(fleet.primary("s1"), "app")) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT shardrouter.proxy_login('app')")


def test_replicas_are_let_in_and_copied(fleet: LocalFleet, tmp_path: Path) -> None:
    primary = fleet.primary("s0")
    given = psycopg.conninfo.conninfo_to_dict(primary.dsn())
    where = {"PGHOST": str(given["host"]), "PGPORT": str(given["port"])}
    (tmp_path / "pg_hba.conf").write_text("")
    run("primary.sh", fleet=fleet, PGDATA=str(tmp_path), POSTGRES_USER="postgres", **where)
    assert "host replication replicator" in (tmp_path / "pg_hba.conf").read_text()
    data = tmp_path / "data"
    data.mkdir()
    (data / "rest").touch()  # of a copy that was interrupted
    copy = {
        "PGDATA": str(data),
        "PRIMARY_HOST": where["PGHOST"],
        "PRIMARY_PORT": where["PGPORT"],
        "PGPASSWORD": PASSWORDS["REPLICATION_PASSWORD"],
    }
    for _ in range(2):  # at the second start the data are there
        assert run("replica.sh", "echo", "postgres", fleet=fleet, **copy) == "postgres\n"
    assert (data / "standby.signal").exists()
    assert not (data / "rest").exists()
    assert "replicator" in (data / "postgresql.auto.conf").read_text()
