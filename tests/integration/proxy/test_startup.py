"""Startup packets through the whole proxy: versions, options, settings, what the server reports."""

import socket
import struct
from contextlib import suppress
from typing import Any, Final

import psycopg
import pytest

from shardrouter.wire import messages
from tests.support.cluster import Cluster
from tests.support.eventually import eventually
from tests.support.proxy import USER, ProxyProcess
from tests.support.wire_script import Wire

V3_0: Final = 196608
V3_1, V3_2, V3_9999, V4 = V3_0 + 1, V3_0 + 2, V3_0 + 9999, 4 << 16


def start(
    proxy: ProxyProcess, version: int = V3_0, **parameters: str
) -> tuple[Wire, list[tuple[str, bytes]]]:
    """Send a startup packet; the connection is left open."""
    wire = Wire(("127.0.0.1", proxy.port))
    given = {"user": USER, "database": proxy.cluster.database, **parameters}
    return wire, wire.start({k: v for k, v in given.items() if v}, version)


def kinds(said: list[tuple[str, bytes]]) -> str:
    return "".join(dict.fromkeys(kind for kind, _ in said))


def error(said: list[tuple[str, bytes]]) -> tuple[str, str]:
    fields = messages.read_error_fields(said[-1][1])
    return fields["V"], fields["C"]


@pytest.fixture(params=["transaction", "session"])
def either(
    request: pytest.FixtureRequest, proxy: ProxyProcess, session_proxy: ProxyProcess
) -> ProxyProcess:
    """The proxies of both modes, in turn."""
    return proxy if request.param == "transaction" else session_proxy


@pytest.mark.parametrize(
    ("version", "negotiated", "key_bytes"),
    [(V3_0, None, 4), (V3_1, V3_0, 4), (V3_2, None, 32), (V3_9999, V3_2, 32)],
)
def test_versions(either: ProxyProcess, version: int, negotiated: int | None, key_bytes: int):
    wire, said = start(either, version)
    with wire:
        found = [struct.unpack_from("!II", body) for kind, body in said if kind == "v"]
        assert [number for number, _ in found] in ([], [negotiated])
        assert version == V3_1 or len(found) == (negotiated is not None)
        assert said[-1] == ("Z", b"I")
        assert len(wire.key) == key_bytes


def test_unknown_protocol_options_are_listed(either: ProxyProcess):
    wire, said = start(either, V3_2, **{"_pq_.one": "1", "_pq_.two": "2"})
    with wire:
        [body] = [body for kind, body in said if kind == "v"]
        assert body == struct.pack("!II", V3_2, 2) + b"_pq_.one\0_pq_.two\0"
        assert said[-1] == ("Z", b"I")


@pytest.mark.parametrize(
    ("version", "parameters", "sqlstate"),
    [
        (V4, {}, "0A000"),
        (2 << 16, {}, "0A000"),
        (V3_0, {"user": ""}, "28000"),
        (V3_0, {"database": "nothing_of_the_kind"}, "3D000"),
        (V3_0, {"options": "-c no_such_setting=1"}, "42704"),
        (V3_0, {"no_such_setting": "1"}, "42704"),
        (V3_0, {"options": "-c work_mem=many"}, "22023"),
        (V3_0, {"replication": "true"}, "28000"),  # no rule of proxy_auth.rules is for it
    ],
)
def test_refusals(either: ProxyProcess, version: int, parameters: dict[str, str], sqlstate: str):
    wire, said = start(either, version, **parameters)
    with wire:
        assert said[-1][0] == "E"
        assert error(said) == ("FATAL", sqlstate)
        assert wire.read() is None
        assert wire.is_closed


OPTIONS: Final = [
    ("-c work_mem=5MB", "work_mem", "5MB"),
    ("-cwork_mem=5MB", "work_mem", "5MB"),
    ("--work-mem=5MB", "work_mem", "5MB"),
    ("  -c   work_mem=5MB  -c enable_seqscan=off ", "enable_seqscan", "off"),
    (r"-c application_name=a\ b\\c", "application_name", r"a b\c"),
    (r"-c myapp.tenant=it's\ 'quoted'", "myapp.tenant", "it's 'quoted'"),
    ("-c search_path=pg_catalog,public", "search_path", "pg_catalog,public"),
]


@pytest.mark.parametrize(("options", "name", "value"), OPTIONS)
def test_options_reach_the_session(either: ProxyProcess, options: str, name: str, value: str):
    with psycopg.connect(either.dsn(options=options), autocommit=True) as connection:
        for _ in range(2):
            assert connection.execute(f"SHOW {name}".encode()).fetchone() == (value,)


def test_settings_of_one_are_not_those_of_another(proxy: ProxyProcess):
    with psycopg.connect(proxy.dsn(options="-c work_mem=7MB"), autocommit=True) as mine:
        with psycopg.connect(proxy.dsn(), autocommit=True) as other:
            for _ in range(3):
                assert mine.execute("SHOW work_mem").fetchone() == ("7MB",)
                assert other.execute("SHOW work_mem").fetchone() != ("7MB",)


def test_long_application_name(either: ProxyProcess):
    """More than a startup packet holds is dropped; Postgres cuts names of 63 bytes."""
    wire, said = start(either, application_name="x" * 65_536)
    with wire:
        assert kinds(said) in ("", "E")
        assert wire.read() is None
    wire, said = start(either, application_name="x" * 5000)
    with wire:
        assert said[-1] == ("Z", b"I")
        assert wire.parameters["application_name"] == "x" * 63


def test_what_is_reported_is_what_the_server_reports(either: ProxyProcess):
    server = either.cluster.fleet.node("s0-p")
    given = {"user": USER, "database": either.cluster.database, "DateStyle": "SQL, DMY"}
    given |= {"client_encoding": "LATIN1", "application_name": "wire"}
    with Wire((server.host, server.port)) as direct:
        direct.start(given)
    wire, _ = start(either, DateStyle="SQL, DMY", client_encoding="LATIN1", application_name="wire")
    with wire:
        assert wire.parameters == direct.parameters


def test_changes_are_reported(either: ProxyProcess):
    with psycopg.connect(either.dsn(), autocommit=True) as connection:
        connection.execute("SET DateStyle = 'SQL, DMY'")
        assert connection.info.parameter_status("DateStyle") == "SQL, DMY"
        connection.execute("BEGIN")
        connection.execute("SET LOCAL DateStyle = 'ISO, YMD'")
        assert connection.info.parameter_status("DateStyle") == "ISO, YMD"
        connection.execute("ROLLBACK")
        assert connection.info.parameter_status("DateStyle") == "SQL, DMY"
        connection.execute("RESET DateStyle")
        assert connection.info.parameter_status("DateStyle") == "ISO, MDY"


def test_reports_follow_the_role(proxy: ProxyProcess):
    with psycopg.connect(proxy.dsn(), autocommit=True) as connection:
        assert connection.info.parameter_status("in_hot_standby") == "off"
        connection.execute("SET shardrouter.role = 'replica'")

        def is_on_a_replica() -> bool:
            row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
            return bool(row and row[0])

        eventually(is_on_a_replica)
        assert connection.info.parameter_status("in_hot_standby") == "on"
        connection.execute("SET shardrouter.role = 'primary'")
        assert not is_on_a_replica()
        assert connection.info.parameter_status("in_hot_standby") == "off"


MALFORMED: Final[dict[str, bytes]] = {
    "length 3": struct.pack("!I", 3),
    "length 7": struct.pack("!I", 7) + b"xxx",
    "giant": struct.pack("!II", 2**30, V3_0) + b"user\0x\0",
    "no end": struct.pack("!II", 14, V3_0) + b"user\0x",
    "value without end": struct.pack("!II", 13, V3_0) + b"user\0",
    "HTTP": b"GET / HTTP/1.1\r\nHost: proxy\r\n\r\n",
    "short messages": messages.startup({"user": USER}) [:-1],
}  # fmt: skip


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED)
def test_malformed_packets(proxy: ProxyProcess, sent: bytes):
    with Wire(("127.0.0.1", proxy.port)) as wire:
        wire.exchange(sent)
        with suppress(OSError):
            wire.sock.shutdown(socket.SHUT_WR)  # nothing more will come
        said: list[Any] = wire.until("Z")
        assert kinds(said) in ("", "E")
        assert wire.is_closed


LENGTHS: Final = [
    b"Q\0\0\0\3", b"Q\0\0\0\0", b"Q\xff\xff\xff\xff", b"S\0\0\0\0", b"P\x7f\xff\xff\xff",
]  # fmt: skip


@pytest.mark.parametrize("sent", LENGTHS)
def test_lengths_that_no_message_has(either: ProxyProcess, sent: bytes):
    """Postgres just closes; here the client is told why."""
    wire, _ = start(either)
    with wire:
        wire.exchange(sent)
        said = wire.until("Z")
        assert error(said) == ("FATAL", "08P01")
        assert wire.is_closed


def test_every_field_of_an_error_arrives(proxy: ProxyProcess, proxy_cluster: Cluster):
    table = "CREATE TABLE fielded (a int CONSTRAINT positive CHECK (a > 0))"
    with proxy_cluster.connect("s0-p") as direct:
        direct.execute(table)
        try:
            with psycopg.connect(proxy.dsn(), autocommit=True) as through:
                for text in ("INSERT INTO fielded VALUES (-1)", "SELECT a FROM", "SELECT 1/0"):
                    found = [_fields(connection, text) for connection in (direct, through)]
                    assert found[0] == found[1]
        finally:
            direct.execute("DROP TABLE fielded")


def _fields(connection: psycopg.Connection[Any], text: str) -> dict[str, Any]:
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(text.encode())
    diagnostic = caught.value.diag
    return {name: getattr(diagnostic, name) for name in dir(diagnostic) if name[0] != "_"
            and isinstance(getattr(diagnostic, name), str)}  # fmt: skip
