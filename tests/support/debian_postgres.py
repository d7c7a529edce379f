"""A Postgres of the distribution with TLS and SCRAM: the wheel's servers are built without TLS."""

import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg
import trustme

from shardrouter.local.os_user import OsUser
from shardrouter.local.ports import free_ports

BINARIES: Final = Path("/usr/lib/postgresql/15/bin")
PASSWORD: Final = "correct horse"

_RULES: Final = """
local all all trust
host all postgres 127.0.0.1/32 trust
hostssl all certified 127.0.0.1/32 cert
hostnossl all plain_only 127.0.0.1/32 scram-sha-256
hostssl all tls_only 127.0.0.1/32 scram-sha-256
host all certified,plain_only,tls_only all reject
host all clear 127.0.0.1/32 password
host all old_hash 127.0.0.1/32 md5
host all rejected 127.0.0.1/32 reject
host all all 127.0.0.1/32 scram-sha-256
"""
_ROLES: Final = ("app", "certified", "plain_only", "tls_only", "clear", "rejected")


class DebianPostgres:
    """A running server; ``place`` also holds its CA and a client's certificate."""

    def __init__(self, place: Path, port: int) -> None:
        self.place = place
        self.port = port

    def dsn(self, user: str = "postgres", **options: object) -> str:
        given = {"host": "127.0.0.1", "port": self.port, "user": user, "dbname": "postgres"}
        return " ".join(f"{name}='{value}'" for name, value in {**given, **options}.items())

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.dsn(), autocommit=True)

    def verifier(self, role: str) -> str:
        with self.connect() as connection:
            question = "SELECT rolpassword FROM pg_authid WHERE rolname = %s"
            row = connection.execute(question, [role]).fetchone()
        assert row is not None
        return str(row[0])


@contextmanager
def debian_postgres() -> Iterator[DebianPostgres]:
    """Make, start and finally remove a server."""
    user = OsUser.choose()
    place = Path(tempfile.mkdtemp(prefix="shardrouter-tls-"))
    shutil.chown(place, user.uid, user.gid)
    data, [port] = place / "data", free_ports(1, random.SystemRandom())
    authority = trustme.CA()
    authority.cert_pem.write_to_path(place / "ca.pem")
    server = authority.issue_cert("127.0.0.1", "localhost")
    client = authority.issue_cert("certified@example.org", common_name="certified")
    for name, issued in (("server", server), ("client", client)):
        issued.private_key_pem.write_to_path(place / f"{name}.key")
        (place / f"{name}.pem").write_bytes(b"".join(p.bytes() for p in issued.cert_chain_pems))
    (place / "settings.conf").write_text(
        f"ssl = on\nssl_cert_file = '{place}/server.pem'\nssl_key_file = '{place}/server.key'\n"
        f"ssl_ca_file = '{place}/ca.pem'\nport = {port}\nlisten_addresses = '127.0.0.1'\n"
        f"unix_socket_directories = '{place}'\nfsync = off\nmax_connections = 30\n"
        f"shared_buffers = 16MB\nhba_file = '{place}/rules.conf'\n"
    )
    (place / "rules.conf").write_text(_RULES)
    for path in place.iterdir():
        shutil.chown(path, user.uid, user.gid)
        path.chmod(0o600)
    try:
        _run(user, BINARIES / "initdb", "-D", data, "-U", "postgres", "-E", "UTF8", "--no-sync")
        with (data / "postgresql.conf").open("a") as settings:
            settings.write(f"include '{place}/settings.conf'\n")
        _run(user, BINARIES / "pg_ctl", "-D", data, "-l", place / "log", "-w", "start")
        running = DebianPostgres(place, port)
        _make_roles(running)
        yield running
    finally:
        _run(user, BINARIES / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop", check=False)
        shutil.rmtree(place)


def _make_roles(server: DebianPostgres) -> None:
    with server.connect() as connection:
        for role in _ROLES:
            connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
        connection.execute("SET password_encryption = md5")
        connection.execute(f"CREATE ROLE old_hash LOGIN PASSWORD '{PASSWORD}'")


def _run(user: OsUser, program: Path, *arguments: object, check: bool = True) -> None:
    done = user.run([program, *map(str, arguments)], 60)
    if check and done.returncode:
        raise RuntimeError(f"{program} failed: {done.stdout}{done.stderr}")


def is_installed() -> bool:
    return (BINARIES / "initdb").exists()
