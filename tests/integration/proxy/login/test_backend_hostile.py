"""Nodes that do not speak as Postgres does: each is refused soon, and nothing is believed."""

import asyncio
import os
import ssl
import time
from contextlib import asynccontextmanager

import pytest

from shardrouter.errors import (
    BackendError,
    BackendLost,
    BackendProtocolError,
    BackendRefused,
    BackendUnreachable,
)
from shardrouter.proxy.backend.login import open_backend, send_cancel
from shardrouter.wire import messages
from shardrouter.wire.scram import SCRAM, ScramServer
from shardrouter.wire.scram_secrets import derive_keys, verifier_of

KEYS = derive_keys("pencil", b"0123456789abcdef", 4096)
OK = messages.AUTHENTICATION_OK
OFFER = messages.authentication_sasl([SCRAM])


@asynccontextmanager
async def node(talk):
    """A node whose connections are all served by ``talk(reader, writer)``; gives its DSN."""

    async def serve(reader, writer):
        try:
            await talk(reader, writer)
        except (OSError, EOFError, ssl.SSLError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"host=127.0.0.1 port={port} user=ann password=pencil"
    finally:
        server.close()
        await server.wait_closed()


async def startup_of(reader):
    return await reader.readexactly(int.from_bytes(await reader.readexactly(4)) - 4)


async def message_of(reader):
    head = await reader.readexactly(5)
    return await reader.readexactly(int.from_bytes(head[1:]) - 4)


def says(*parts):
    """A node in clear text that says the same to everybody, and waits for the other to leave."""

    async def talk(reader, writer):
        await startup_of(reader)
        writer.write(b"".join(parts))
        await reader.read()

    return talk


async def failure(dsn, seconds=5.0, **options):
    text = " ".join(f"{name}={value}" for name, value in options.items())
    began = time.process_time()
    with pytest.raises(BackendError) as caught:
        backend = await open_backend(f"{dsn} {text}", "ann", "app", {}, None, seconds)
        backend.transport.abort()
    assert time.process_time() - began < 1.0
    return caught.value


# before TLS


@pytest.mark.parametrize("answer", [b"SE\0\0\0\5x", b"S" + OK + messages.ready(), b"N" + OK])
@pytest.mark.parametrize("mode", ["prefer", "require"])
async def test_clear_text_behind_the_answer_to_ssl_request(answer, mode):
    seen = []

    async def talk(reader, writer):
        await startup_of(reader)
        writer.write(answer)
        seen.append(await reader.read())

    async with node(talk) as dsn:
        assert isinstance(await failure(dsn, sslmode=mode), BackendProtocolError)
        await asyncio.sleep(0.05)
    assert seen == [b""]  # nothing was said to it, not even the user's name


async def test_clear_text_between_the_answer_and_the_handshake():
    async def talk(reader, writer):
        await startup_of(reader)
        writer.write(b"S")
        await asyncio.sleep(0.05)
        writer.write(OK + messages.ready())
        await reader.read()

    async with node(talk) as dsn:
        assert isinstance(await failure(dsn, sslmode="require"), BackendUnreachable)


@pytest.mark.parametrize("answer", [b"N", b"E\0\0\0\5x", b"X", b""])
async def test_no_tls_where_it_is_demanded(answer):
    async def talk(reader, writer):
        await startup_of(reader)
        writer.write(answer)

    async with node(talk) as dsn:
        assert isinstance(await failure(dsn, sslmode="require"), BackendUnreachable)


@pytest.mark.parametrize("direct", [False, True])
async def test_tls_of_our_own_making(authority, tmp_path, direct):
    """A server of Python's ssl: also without a Postgres of the distribution TLS is tried."""
    issued = authority.issue_cert("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    context.set_alpn_protocols(["postgresql"])
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")

    async def talk(reader, writer):
        if not direct:
            await startup_of(reader)
            writer.write(b"S")
        await writer.start_tls(context)
        await startup_of(reader)
        writer.write(OK + messages.backend_key_data(3, b"1234") + messages.ready())
        await reader.read()

    options = f"sslmode=verify-full sslrootcert={tmp_path}/ca.pem"
    if direct:
        options += " sslnegotiation=direct"
    async with node(talk) as dsn:
        backend = await open_backend(f"{dsn} {options}", "ann", "app", {}, None, 5)
        assert backend.pid == 3
        assert backend.channel.peer.tls.binding is not None
        backend.transport.abort()


# SCRAM


def challenges(change):
    """A node that changes the challenge of an honest one."""

    async def talk(reader, writer):
        await startup_of(reader)
        writer.write(OFFER)
        honest = ScramServer(verifier_of(KEYS), b"servernonce").first(await message_of(reader))
        writer.write(messages.authentication_sasl_continue(change(honest)))
        await reader.read()

    return talk


CHANGES = {
    "64 KB nonce": lambda first: first.replace(b"servernonce", b"x" * 65_000),
    "own nonce": lambda first: b"r=other" + first[first.index(b",s=") :],
    "nonce not extended": lambda first: first.replace(b"servernonce", b""),
    "i=0": lambda first: first.replace(b"i=4096", b"i=0"),
    "i=10^9": lambda first: first.replace(b"i=4096", b"i=1000000000"),
    "i=-1": lambda first: first.replace(b"i=4096", b"i=-1"),
    "no salt": lambda first: first[: first.index(b",s=")] + b",s=,i=4096",
    "empty": lambda first: b"",
}


@pytest.mark.parametrize("name", CHANGES)
async def test_challenges_that_are_refused(name):
    async with node(challenges(CHANGES[name])) as dsn:
        assert isinstance(await failure(dsn, sslmode="disable"), BackendProtocolError)


async def test_a_million_iterations_hold_nobody_up():
    longest = 0.0

    async def watch():
        nonlocal longest
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - began)

    change = challenges(lambda first: first.replace(b"i=4096", b"i=1000000"))
    async with node(change) as dsn:
        watching = asyncio.ensure_future(watch())
        assert isinstance(await failure(dsn, 0.5, sslmode="disable"), BackendUnreachable)
        watching.cancel()
    assert longest < 0.3


@pytest.mark.parametrize(
    "final",
    [
        OK + messages.ready(),  # no signature at all
        messages.authentication_sasl_final(b"v=") + OK + messages.ready(),
        messages.authentication_sasl_final(b"v=AAAA") + OK + messages.ready(),
        messages.authentication_sasl_final(b"x") + OK + messages.ready(),
        messages.authentication_sasl_continue(b"") + OK + messages.ready(),
        messages.ready(),
    ],
)
async def test_a_node_must_prove_that_it_knows_the_verifier(final):
    async def talk(reader, writer):
        await startup_of(reader)
        writer.write(OFFER)
        server = ScramServer(verifier_of(KEYS), b"servernonce")
        first = server.first(await message_of(reader))
        writer.write(messages.authentication_sasl_continue(first))
        await message_of(reader)
        writer.write(final)
        await reader.read()

    async with node(talk) as dsn:
        error = await failure(dsn, sslmode="disable")
    assert isinstance(error, BackendProtocolError | BackendRefused)


# everything else

AUTHENTICATION = [
    messages.typed(b"R", b""),
    messages.typed(b"R", b"\0\0\0"),
    messages.typed(b"R", b"\0\0\0\0more"),
    messages.typed(b"R", b"\0\0\0\2"),  # Kerberos
    messages.typed(b"R", b"\0\0\0\3"),
    messages.typed(b"R", b"\0\0\0\5salt"),
    messages.typed(b"R", b"\0\0\0\x07"),  # GSSAPI
    messages.typed(b"R", b"\xff\xff\xff\xff"),
    messages.authentication_sasl(["PLAIN"]),
    messages.authentication_sasl([]),
    messages.typed(b"R", b"\0\0\0\x0aSCRAM-SHA-256"),
    messages.authentication_sasl_continue(b"x"),
    messages.authentication_sasl_final(b"v=x"),
    messages.ready(),
    messages.typed(b"D", b"\0\1\xff\xff\xff\xfe"),
    messages.typed(b"v", b"\0\3\0\0\0\0\0\0"),
    b"R\0\0\0\0",
    b"R\0\0\0\3",
    b"R\xff\xff\xff\xff",
    b"R\x7f\xff\xff\xff",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"\0" * 20,
    messages.notice("NOTICE", "00000", "again") * 2000,
]


@pytest.mark.parametrize("said", AUTHENTICATION, ids=lambda raw: ascii(raw[:14]))
async def test_logins_that_are_none(said):
    async with node(says(said)) as dsn:
        error = await failure(dsn, sslmode="disable")
    assert isinstance(error, BackendProtocolError | BackendRefused)


SESSION = [
    messages.ready(b"T"),
    messages.ready(b"E"),
    messages.typed(b"Z", b""),
    messages.typed(b"Z", b"II"),
    messages.typed(b"S", b"a"),
    messages.typed(b"S", b"a\0b\0c\0"),
    messages.typed(b"K", b"\0\0\0\1"),
    messages.typed(b"K", b"\0\0\0\1" + b"k" * 300),
    messages.typed(b"D", b"\0\0"),
    messages.typed(b"A", b"\0\0\0\1a\0b\0"),
    messages.authentication_sasl([SCRAM]),
    messages.parameter_status("a", "b") * 2000,
    b"S\0\0\0\0",
    b"S\x40\0\0\0",
]


@pytest.mark.parametrize("said", SESSION, ids=lambda raw: ascii(raw[:14]))
async def test_sessions_that_do_not_start(said):
    async with node(says(OK, said)) as dsn:
        assert isinstance(await failure(dsn, sslmode="disable"), BackendProtocolError)


@pytest.mark.parametrize(
    ("body", "sqlstate"),
    [
        (b"", "08004"),
        (b"SFATAL\0", "08004"),
        (b"SFATAL\0C\0Mno\0\0", "08004"),
        (b"SFATAL\0C57P0\0Mno\0\0", "08004"),
        (b"SFATAL\0C57P03\0Mno\0\0", "57P03"),
        (b"\xff\xfe\0\0", "08004"),
        (b"C" + b"x" * 60_000, "08004"),
    ],
)
async def test_errors_of_any_form(body, sqlstate):
    for before in (b"", OK):
        async with node(says(before, messages.typed(b"E", body))) as dsn:
            error = await failure(dsn, sslmode="disable")
        assert isinstance(error, BackendRefused)
        assert error.sqlstate == sqlstate
        assert error.message


async def test_a_node_that_leaves():
    async def leaves(reader, writer):
        await startup_of(reader)

    async with node(leaves) as dsn:
        assert isinstance(await failure(dsn, sslmode="disable"), BackendLost | BackendUnreachable)


@pytest.mark.parametrize("mode", ["disable", "require"])
async def test_a_node_that_says_nothing(mode):
    async def silent(reader, writer):
        await reader.read()

    async with node(silent) as dsn:
        before = len(os.listdir("/proc/self/fd"))
        began = time.monotonic()
        assert isinstance(await failure(dsn, 0.3, sslmode=mode), BackendUnreachable)
        with pytest.raises(BackendUnreachable):
            await send_cancel(f"{dsn} sslmode={mode}", 1, b"1234", 0.3)
        assert time.monotonic() - began < 2
        await asyncio.sleep(0.1)
        assert len(os.listdir("/proc/self/fd")) <= before


async def test_what_comes_behind_ready_is_kept():
    behind = messages.notice("WARNING", "01000", "late")
    async with node(says(OK, messages.parameter_status("a", "b"), messages.ready(), behind)) as dsn:
        backend = await open_backend(f"{dsn} sslmode=disable", "ann", "app", {}, None, 5)
        await asyncio.sleep(0.05)
        assert (backend.parameters, backend.pid, backend.key) == ({"a": "b"}, 0, b"")
        assert backend.leftover == behind
        backend.transport.abort()
