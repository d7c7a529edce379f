"""Read from a node's connection string how its backends are reached.

Pure. The words are libpq's; what we would have to ignore although it protects something
(``sslcrl``, most of ``require_auth``) is refused. Environment variables, ``~/.pgpass`` and
service files are not read: the topology says it all.
"""

import os.path
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from shardrouter.errors import SettingsError

DEFAULT_PORT: Final = 5432


class SslMode(StrEnum):
    """``sslmode`` of libpq."""

    DISABLE = "disable"
    ALLOW = "allow"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


@dataclass(frozen=True, slots=True)
class BackendAddress:
    """Where a node is, and how a connection to it is secured."""

    host: str
    """A name or address, or the path of a Unix socket's directory."""
    port: int
    host_address: str | None
    """``hostaddr``: where to connect, while the certificate is checked against ``host``."""
    ssl_mode: SslMode
    is_direct_tls: bool
    root_file: str | None
    certificate_file: str | None
    key_file: str | None
    key_password: str | None = field(repr=False)
    channel_binding: str
    must_use_scram: bool
    user: str | None
    password: str | None = field(repr=False)
    connect_timeout_seconds: float | None
    keepalives: Mapping[str, int]
    """``keepalives``, ``keepalives_idle``, ``_interval``, ``_count`` and ``tcp_user_timeout``."""

    @property
    def is_unix(self) -> bool:
        return self.host_address is None and self.host.startswith(("/", "@"))

    @property
    def unix_path(self) -> str:
        path = os.path.join(self.host, f".s.PGSQL.{self.port}")
        return "\0" + path[1:] if path.startswith("@") else path

    def __str__(self) -> str:
        return self.unix_path if self.is_unix else f"{self.host}:{self.port}"


@lru_cache(maxsize=1024)  # a pool asks for the same few strings at each new backend
def read_address(dsn: str) -> BackendAddress:
    """Return what the connection string says; SettingsError where it says what we cannot keep."""
    try:
        given = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value != ""}
    except psycopg.Error:
        # Not chained: libpq quotes what it could not read, and that may be the password.
        raise SettingsError("a node's connection string cannot be read") from None
    _refuse_the_impossible(given)
    root_file = given.get("sslrootcert")
    ssl_mode = _ssl_mode(given, root_file)
    return BackendAddress(
        host=given.get("host") or given["hostaddr"],
        port=_whole(given, "port") or DEFAULT_PORT,
        host_address=given.get("hostaddr"),
        ssl_mode=ssl_mode,
        is_direct_tls=given.get("sslnegotiation") == "direct",
        root_file=root_file,
        certificate_file=given.get("sslcert"),
        key_file=given.get("sslkey"),
        key_password=given.get("sslpassword"),
        channel_binding=given.get("channel_binding", "prefer"),
        must_use_scram=given.get("require_auth") == "scram-sha-256",
        user=given.get("user"),
        password=given.get("password"),
        connect_timeout_seconds=_whole(given, "connect_timeout") or None,
        keepalives={name: int(_whole(given, name) or 0) for name in _KEEPALIVES if name in given},
    )


_KEEPALIVES: Final = (
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
)
_PROTECTIONS: Final = ("sslcrl", "sslcrldir", "requirepeer", "service")


def _refuse_the_impossible(given: Mapping[str, str]) -> None:
    if not given.get("host") and not given.get("hostaddr"):
        raise SettingsError("a node's connection string names no host", hint="write host=...")
    for name in ("host", "hostaddr", "port"):
        if "," in given.get(name, ""):
            raise SettingsError(
                f"a node's connection string lists several values for {name}",
                hint="a node is one server; list replicas as nodes of the shard",
            )
    for name in _PROTECTIONS:
        if name in given:
            raise SettingsError(f"the proxy does not know {name} of a node's connection string")
    if given.get("require_auth", "scram-sha-256") != "scram-sha-256":
        raise SettingsError("of require_auth the proxy knows only scram-sha-256")
    if given.get("gssencmode") == "require":
        raise SettingsError("the proxy speaks no GSSAPI: gssencmode=require cannot be kept")


def _ssl_mode(given: Mapping[str, str], root_file: str | None) -> SslMode:
    try:
        mode = SslMode(given.get("sslmode", "prefer"))
    except ValueError:
        raise SettingsError(f"sslmode {given['sslmode']!r} is not one that libpq knows") from None
    if mode is SslMode.REQUIRE and root_file is not None:
        return SslMode.VERIFY_CA  # as libpq does it
    if mode in (SslMode.VERIFY_CA, SslMode.VERIFY_FULL) and root_file is None:
        raise SettingsError(
            f"sslmode={mode} needs sslrootcert in a node's connection string",
            hint="name a file of certificates, or sslrootcert=system",
        )
    return mode


def _whole(given: Mapping[str, str], name: str) -> int:
    try:
        return max(0, int(given.get(name, "0")))
    except ValueError:
        raise SettingsError(f"{name} of a node's connection string is not a number") from None
