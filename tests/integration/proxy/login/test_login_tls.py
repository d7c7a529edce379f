"""The doorstep with TLS: what is said before, how it starts, what it proves."""

import asyncio
import ssl

import pytest
import trustme

from shardrouter.errors import SettingsError
from shardrouter.proxy.login import open_door
from shardrouter.wire import messages
from shardrouter.wire.certificate import binding_of
from shardrouter.wire.scram import SCRAM, SCRAM_PLUS, ScramClient
from tests.support.doorstep_bed import KEYS, RawClient, doorstep, write_certificates
from tests.support.eventually import eventually_async

SCRAM_STARTUP = messages.startup({"user": "ann", "database": "app"})


def opened(settings, **more):
    return open_door(settings, first_primary=lambda: "host=nowhere", mock_secret=b"m" * 32, **more)


@pytest.fixture
def settings(tmp_path, authority):
    return write_certificates(tmp_path, authority)


@pytest.fixture
async def bed(settings):
    async with doorstep(opened(settings)) as bed:
        yield bed


@pytest.fixture
def client_certificate(tmp_path, authority):
    """A certificate of ann, as libpq's options."""
    issued = authority.issue_cert("ann@example.org", common_name="ann")
    chain, key = tmp_path / "ann.pem", tmp_path / "ann.key"
    chain.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    key.chmod(0o600)
    return {"sslmode": "require", "sslcert": chain, "sslkey": key}


def client_context(authority, *alpn):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


async def secured(bed, authority, *alpn, is_direct=False):
    """Return a client inside TLS."""
    reader, writer = await asyncio.open_connection("127.0.0.1", bed.port)
    if not is_direct:
        writer.write(messages.SSL_REQUEST)
        assert await reader.readexactly(1) == b"S"
    await writer.start_tls(client_context(authority, *alpn), server_hostname="127.0.0.1")
    return RawClient(reader, writer)


@pytest.mark.parametrize(
    "options",
    [
        {"sslmode": "disable"},
        {"sslmode": "allow"},
        {"sslmode": "prefer"},
        {"sslmode": "require"},
        {"sslmode": "verify-ca"},
        {"sslmode": "verify-full"},
        {"sslmode": "require", "sslnegotiation": "direct"},
        {"sslmode": "require", "channel_binding": "require"},
        {"sslmode": "require", "channel_binding": "disable"},
    ],
    ids=str,
)
async def test_what_libpq_may_wish(bed, settings, options):
    if options["sslmode"].startswith("verify"):
        options = {**options, "sslrootcert": settings.client_ca_file}
    assert await bed.connect(**options) == "ok"
    _, identity, _ = bed.sessions[0]
    assert identity.method == "scram-sha-256"


async def test_a_binding_that_is_demanded_is_never_given_up(bed):
    assert "SSL not in use" in await bed.connect(sslmode="disable", channel_binding="require")


async def test_a_certificate_of_somebody_else_is_noticed(bed, tmp_path):
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    told = await bed.connect(sslmode="verify-full", sslrootcert=other)
    assert "certificate verify failed" in told
    await eventually_async(lambda: bed.doorstep.failures == {"tls": 1})


@pytest.mark.parametrize("flag", ["y", "n"])
async def test_our_offer_cannot_be_taken_away(bed, authority, flag):
    """A client that could bind (y) was told that we cannot; one that cannot (n) may come in."""
    client = await secured(bed, authority)
    client.say(SCRAM_STARTUP)
    assert (await client.message())[1][4:] == f"{SCRAM_PLUS}\0{SCRAM}\0\0".encode()
    scram = ScramClient([SCRAM], b"clientnonce", b"x" if flag == "y" else None)
    client.say(messages.sasl_initial_response(SCRAM, scram.first()))
    if flag == "y":
        assert (await client.refusal())["C"] == "28000"
    else:
        assert (await client.message())[1][:4] == (11).to_bytes(4)
        client.writer.transport.abort()


@pytest.mark.parametrize("is_right", [True, False])
async def test_the_binding_is_that_of_our_certificate(bed, authority, is_right):
    client = await secured(bed, authority)
    der = client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    client.say(SCRAM_STARTUP)
    await client.message()
    scram = ScramClient([SCRAM_PLUS], b"nonce", binding_of(der) if is_right else b"x" * 32)
    client.say(messages.sasl_initial_response(SCRAM_PLUS, scram.first()))
    scram.read_challenge((await client.message())[1][4:])
    client.say(messages.sasl_response(scram.answer(KEYS)))
    if is_right:
        scram.check((await client.message())[1][4:])
        client.writer.transport.abort()
    else:
        assert (await client.refusal())["C"] == "28000"


# what is said before TLS


async def test_clear_text_behind_the_request_in_one_segment(bed):
    client = await bed.raw()
    client.say(messages.SSL_REQUEST + messages.query("select 1"))
    assert await client.rest() == b""
    assert bed.doorstep.failures == {"protocol": 1}
    assert bed.sessions == []


async def test_clear_text_behind_the_answer(bed):
    client = await bed.raw()
    client.say(messages.SSL_REQUEST)
    assert await client.reader.readexactly(1) == b"S"
    client.say(messages.startup({"user": "ann", "database": "open"}))
    rest = await client.rest()
    assert not rest.startswith(b"R")
    assert bed.sessions == []
    assert bed.doorstep.failures == {"tls": 1}


async def test_clear_text_before_the_handshake_is_never_read_as_if_inside(bed, authority):
    """The bytes reach only the handshake, which fails on them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", bed.port)
    writer.write(messages.SSL_REQUEST)
    assert await reader.readexactly(1) == b"S"
    writer.write(messages.startup({"user": "ann", "database": "open"}))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await writer.start_tls(client_context(authority), server_hostname="127.0.0.1")
    writer.transport.abort()
    assert bed.sessions == []


async def test_a_gss_request_first(bed, authority):
    reader, writer = await asyncio.open_connection("127.0.0.1", bed.port)
    writer.write(messages.GSSENC_REQUEST)
    assert await reader.readexactly(1) == b"N"
    writer.write(messages.SSL_REQUEST)
    assert await reader.readexactly(1) == b"S"
    await writer.start_tls(client_context(authority), server_hostname="127.0.0.1")
    client = RawClient(reader, writer)
    client.say(messages.startup({"user": "ann", "database": "open"}))
    assert (await client.message())[0] == b"R"
    client.writer.transport.abort()


@pytest.mark.parametrize("request_", [messages.SSL_REQUEST, messages.GSSENC_REQUEST])
async def test_no_second_negotiation_inside(bed, authority, request_):
    client = await secured(bed, authority)
    client.say(request_ * 1000)
    assert (await client.refusal())["C"] == "0A000"


async def test_cancel_requests_inside(bed, authority):
    client = await secured(bed, authority)
    client.say(messages.cancel_request(5, b"k" * 32))
    assert await client.rest() == b""
    assert bed.cancels == [(5, b"k" * 32)]


@pytest.mark.parametrize("length", [0, 7, 10_001, 2**31])
async def test_impossible_lengths_inside(bed, authority, length):
    client = await secured(bed, authority)
    client.say(length.to_bytes(4) + b"\0\3\0\0")
    assert (await client.refusal())["C"] == "08P01"


# TLS from the first byte


@pytest.mark.parametrize(
    ("alpn", "is_welcome"),
    [(("postgresql",), True), (("h2", "postgresql"), True), ((), False), (("http/1.1",), False)],
)
async def test_direct_tls_needs_its_protocol(bed, authority, alpn, is_welcome):
    try:
        client = await secured(bed, authority, *alpn, is_direct=True)
        client.say(messages.startup({"user": "ann", "database": "open"}))
        rest = (await client.message())[0]
        client.writer.transport.abort()
    except (OSError, EOFError):
        rest = b""
    assert (rest == b"R") == is_welcome
    assert len(bed.sessions) == is_welcome


async def test_direct_tls_is_no_second_try(bed):
    client = await bed.raw()
    client.say(messages.GSSENC_REQUEST)
    assert await client.reader.readexactly(1) == b"N"
    client.say(b"\x16\x03\x01\x02\0\x01\0\x01")
    assert await client.rest() == b""


# certificates of clients


async def test_a_certificate_that_names_the_user(bed, client_certificate):
    assert await bed.connect(dbname="certs", **client_certificate) == "ok"
    assert bed.sessions[0][1].method == "cert"
    told = await bed.connect("sue", dbname="certs", **client_certificate)
    assert 'certificate authentication failed for user "sue"' in told


async def test_no_certificate_no_entry(bed, client_certificate, tmp_path):
    without = {"sslmode": "require", "sslcert": tmp_path / "none"}
    assert "certificate authentication failed" in await bed.connect(dbname="certs", **without)
    assert "no rule of the proxy admits" not in await bed.connect(dbname="certs", **without)


async def test_a_certificate_of_another_authority(bed, tmp_path):
    issued = trustme.CA().issue_cert("ann@example.org", common_name="ann")
    (tmp_path / "c.pem").write_bytes(b"".join(p.bytes() for p in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(tmp_path / "c.key")
    (tmp_path / "c.key").chmod(0o600)
    options = {"sslmode": "require", "sslcert": tmp_path / "c.pem", "sslkey": tmp_path / "c.key"}
    assert await bed.connect(dbname="certs", **options) != "ok"
    assert bed.sessions == []


async def test_tls_may_be_demanded(settings):
    strict = opened(settings.model_copy(update={"tls": "require"}))
    async with doorstep(strict) as bed:
        assert "TLS is required" in await bed.connect(sslmode="disable")
        assert await bed.connect(sslmode="require") == "ok"


# renewal


async def test_certificates_are_renewed_without_a_restart(bed, settings, tmp_path, authority):
    async def serial():
        client = await secured(bed, authority)
        number = client.writer.get_extra_info("peercert")["serialNumber"]
        client.writer.transport.abort()
        return number

    first = await serial()
    open_client = await secured(bed, authority)
    settings.key_file.write_text("broken")
    with pytest.raises(SettingsError):
        bed.doorstep.door = opened(settings, previous=bed.doorstep.door)
    assert await serial() == first
    write_certificates(tmp_path, authority)
    bed.doorstep.door = opened(settings, previous=bed.doorstep.door)
    assert await serial() != first
    # A login that began before keeps the binding of its own handshake.
    der = open_client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    open_client.say(SCRAM_STARTUP)
    await open_client.message()
    scram = ScramClient([SCRAM_PLUS], b"nonce", binding_of(der))
    open_client.say(messages.sasl_initial_response(SCRAM_PLUS, scram.first()))
    scram.read_challenge((await open_client.message())[1][4:])
    open_client.say(messages.sasl_response(scram.answer(KEYS)))
    scram.check((await open_client.message())[1][4:])
    open_client.writer.transport.abort()


async def test_handshakes_that_never_end(settings):
    async with doorstep(opened(settings), login_timeout_seconds=0.4) as bed:
        halves = []
        for start in (b"", b"\x16\x03\x01", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"):
            client = await bed.raw()
            client.say(messages.SSL_REQUEST)
            assert await client.reader.readexactly(1) == b"S"
            client.say(start)
            halves.append(client)
        assert await bed.connect(sslmode="require") == "ok"
        for client in halves:
            await client.rest()
        await eventually_async(lambda: bed.doorstep.logging_in == 0)
        assert bed.doorstep.failures["timeout"] == 3
