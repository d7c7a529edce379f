"""PgBouncer of the same machine, set up like the proxy: one process, 20 backends, no TLS.

Versions before 1.21 know no prepared statements of the protocol in transaction pooling. For them
there is a second database in session pooling, with a backend for each client.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks.machine import find_pgbouncer, pgbouncer_version
from benchmarks.proxy.doors import (
    CLIENTS_MAX,
    DATABASE,
    HOST,
    PEER,
    POOL_SIZE,
    USER,
    Door,
    environment,
    started,
)
from benchmarks.proxy.scram_keys import ScramKeys
from shardrouter.local.os_user import OsUser

INSTALL: Final = "pgbouncer is not installed, so nothing stands beside: apt-get install pgbouncer"
SESSION_DATABASE: Final = "app_session"
SESSION_POOL: Final = 600
FIRST_WITH_PREPARED: Final = (1, 21)


def is_installed() -> bool:
    """True when there is a PgBouncer to compare with."""
    return find_pgbouncer() is not None


@contextmanager
def peer_door(
    directory: Path, port: int, server_port: int, logins: dict[str, ScramKeys]
) -> Iterator[Door]:
    """Run PgBouncer for the block. It refuses to run as root and gets another user then."""
    program = find_pgbouncer()
    assert program is not None, INSTALL
    settings = directory / "pgbouncer.ini"
    users = [f'"{USER}" ""', *(f'"{name}" "{keys.verifier}"' for name, keys in logins.items())]
    _write(directory / "pgbouncer-users.txt", users)
    _write(directory / "pgbouncer-hba.conf", auth_rules(logins))
    _write(settings, _settings(directory, port, server_port))
    with started(
        PEER,
        [program, settings],
        port,
        directory / "pgbouncer.log",
        env=environment(),
        **_as_user(),
    ) as door:
        yield door


def door_for_prepared(door: Door) -> Door:
    """Return where this version keeps prepared statements."""
    if knows_prepared(pgbouncer_version() or ""):
        return door
    return replace(door, database=SESSION_DATABASE, note="session pooling")


def knows_prepared(version: str) -> bool:
    """True when that version keeps prepared statements in transaction pooling."""
    parts = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    return parts >= FIRST_WITH_PREPARED


def auth_rules(logins: dict[str, ScramKeys]) -> list[str]:
    """Return rules for both proxies: these users by SCRAM, everybody else of this machine so."""
    scram = [f"host all {name} {HOST}/32 scram-sha-256" for name in logins]
    return [*scram, f"host all all {HOST}/32 trust"]


def _settings(directory: Path, port: int, server_port: int) -> list[str]:
    server = f"host={HOST} port={server_port} dbname={DATABASE}"
    prepared = knows_prepared(pgbouncer_version() or "")
    return [
        "[databases]",
        f"{DATABASE} = {server}",
        f"{SESSION_DATABASE} = {server} pool_mode=session pool_size={SESSION_POOL}",
        "[pgbouncer]",
        f"listen_addr = {HOST}",
        f"listen_port = {port}",
        "unix_socket_dir =",
        "auth_type = hba",
        f"auth_hba_file = {directory / 'pgbouncer-hba.conf'}",
        f"auth_file = {directory / 'pgbouncer-users.txt'}",
        "pool_mode = transaction",
        f"default_pool_size = {POOL_SIZE}",
        f"max_client_conn = {CLIENTS_MAX}",
        "ignore_startup_parameters = extra_float_digits",
        *(["max_prepared_statements = 500"] if prepared else []),
    ]


def _write(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o644)  # another user may have to read it


def _as_user() -> dict[str, Any]:
    user = OsUser.choose()
    if os.geteuid() == user.uid:
        return {}
    return {"user": user.uid, "group": user.gid, "extra_groups": []}
