"""The doorstep in clear text: what clients say before they are let in, on real sockets."""

import asyncio
import errno
import os
import random
import socket
import time
from dataclasses import replace

import pytest

from shardrouter.errors import BackendUnreachable
from shardrouter.proxy.login import read_rules
from shardrouter.wire import messages
from shardrouter.wire.scram import SCRAM
from tests.support.doorstep_bed import KEYS, doorstep, make_door
from tests.support.eventually import eventually_async

STARTUP = messages.startup({"user": "ann", "database": "open"})
SCRAM_STARTUP = messages.startup({"user": "ann", "database": "app"})


async def test_logins_of_libpq(caplog):
    caplog.set_level("INFO")
    async with doorstep() as bed:
        assert await bed.connect() == "ok"
        assert await bed.connect(dbname="open") == "ok"
        for user in ("ann", "nobody"):
            told = await bed.connect(user, password="crayon")
            assert f'password authentication failed for user "{user}"' in told
        assert [session[1].method for session in bed.sessions] == ["scram-sha-256", "trust"]
        assert bed.sessions[0][1].secret == KEYS
        assert bed.doorstep.failures == {"credentials": 2}
    assert "sqlstate=28P01" in caplog.text
    assert "crayon" not in caplog.text
    assert "SCRAM-SHA-256$" not in caplog.text


async def test_what_follows_the_startup_packet_is_left_for_the_session():
    async with doorstep() as bed:
        client = await bed.raw()
        client.say(STARTUP + messages.query("select 1"))
        assert await client.message() == (b"R", b"\0\0\0\0")
        assert bed.sessions[0][2] == messages.query("select 1")
        client.writer.transport.abort()


@pytest.mark.parametrize("step", [1, 7])
async def test_a_startup_packet_in_pieces(step):
    async with doorstep() as bed:
        client = await bed.raw()
        raw = messages.SSL_REQUEST
        for at in range(0, len(raw), step):
            client.say(raw[at : at + step])
            await asyncio.sleep(0.002)
        assert await client.reader.readexactly(1) == b"N"
        for at in range(0, len(STARTUP), step):
            client.say(STARTUP[at : at + step])
            await asyncio.sleep(0.001)
        assert (await client.message())[0] == b"R"
        client.writer.transport.abort()


@pytest.mark.parametrize(
    "requests",
    [
        [messages.SSL_REQUEST, messages.GSSENC_REQUEST],
        [messages.GSSENC_REQUEST, messages.SSL_REQUEST],
        [messages.GSSENC_REQUEST],
    ],
)
async def test_encryption_that_is_not_offered(requests):
    async with doorstep() as bed:
        client = await bed.raw()
        for request in requests:
            client.say(request)
            assert await client.reader.readexactly(1) == b"N"
        client.say(STARTUP)
        assert (await client.message())[0] == b"R"
        client.writer.transport.abort()


@pytest.mark.parametrize("request_", [messages.SSL_REQUEST, messages.GSSENC_REQUEST])
async def test_each_request_is_answered_once(request_):
    async with doorstep() as bed:
        client = await bed.raw()
        client.say(request_)
        assert await client.reader.readexactly(1) == b"N"
        client.say(request_ * 100_000)
        assert (await client.refusal())["C"] == "0A000"
        await eventually_async(lambda: bed.doorstep.logging_in == 0)


@pytest.mark.parametrize("request_", [messages.SSL_REQUEST, messages.GSSENC_REQUEST])
async def test_what_is_said_behind_a_request_in_one_segment_ends_it(request_):
    async with doorstep() as bed:
        client = await bed.raw()
        client.say(request_ + STARTUP)
        assert await client.rest() == b""
        assert bed.sessions == []


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\0\0\0\0\0\0\0",
        b"\0\0\0\4",
        b"\0\0\0\7\0\0\0\0",
        b"\xff\xff\xff\xff",
        (10_001).to_bytes(4) + b"\0\3\0\0" + b"x" * 9_993,
        (2**30).to_bytes(4) + b"\0\3\0\0",
        messages.query("select 1"),
        b"p\0\0\0\x08pass",
        b"\x16\x03\x01\x02\0\x01",  # a TLS handshake, and there is no TLS
    ],
    ids=lambda raw: ascii(raw[:8]),
)
async def test_what_is_no_first_packet_gets_no_answer(raw):
    async with doorstep() as bed:
        client = await bed.raw()
        client.say(raw)
        assert await client.rest() == b""
        assert bed.doorstep.failures == {"protocol": 1}


@pytest.mark.parametrize(
    ("packet", "sqlstate"),
    [
        (messages.startup({"database": "open"}), "28000"),
        (messages.startup({"user": "ann"}, 4 << 16), "0A000"),
        (messages.startup({"user": "ann"}, 2 << 16), "0A000"),
        (STARTUP[:-1] + b"x", "08P01"),
        (messages.startup({"user": "ann", "options": "-x"}), "42601"),
        (messages.cancel_request(1, b"k" * 300), "08P01"),
    ],
)
async def test_first_packets_that_are_refused(packet, sqlstate):
    async with doorstep() as bed:
        client = await bed.raw()
        client.say(packet)
        fields = await client.refusal()
        assert (fields["S"], fields["C"]) == ("FATAL", sqlstate)


async def test_a_startup_packet_of_the_greatest_length():
    async with doorstep() as bed:
        packet = messages.startup({"user": "ann", "database": "open", "application_name": ""})
        longest = messages.startup(
            {"user": "ann", "database": "open", "application_name": "x" * (10_000 - len(packet))}
        )
        assert len(longest) == 10_000
        client = await bed.raw()
        client.say(longest)
        assert (await client.message())[0] == b"R"
        client.writer.transport.abort()


@pytest.mark.parametrize("name", ["user", "database", "application_name"])
async def test_names_of_64_kilobytes(name):
    async with doorstep() as bed:
        client = await bed.raw()
        client.say(messages.startup({"user": "ann", name: "x" * 65536}))
        assert await client.rest() == b""


@pytest.mark.parametrize(("version", "newest"), [(3 << 16 | 9999, 3 << 16 | 2), (3 << 16, 3 << 16)])
async def test_negotiation_comes_before_anything_else(version, newest):
    async with doorstep() as bed:
        client = await bed.raw()
        wishes = {"user": "ann", "database": "open", "_pq_.greased": "1"}
        client.say(messages.startup(wishes, version))
        kind, body = await client.message()
        assert kind == b"v"
        assert body == newest.to_bytes(4) + b"\0\0\0\1_pq_.greased\0"
        assert (await client.message())[0] == b"R"
        assert bed.sessions[0][0].version == newest
        client.writer.transport.abort()


AFTER_LOGIN = (
    messages.query("select 1"),
    messages.parse("", "select 1"),
    messages.typed(b"F", b"\0\0\0\1\0\0\0\0\0\0"),
    messages.typed(b"d", b"x"),
)


@pytest.mark.parametrize("said", AFTER_LOGIN, ids=lambda raw: chr(raw[0]))
async def test_nothing_is_done_for_who_is_not_logged_in(said):
    wrong = b"c=biws,r=%b,p=" + b"A" * 43 + b"="
    async with doorstep() as bed:
        for steps in range(3):
            client = await bed.raw()
            client.say(SCRAM_STARTUP)
            assert (await client.message())[0] == b"R"
            if steps:
                client.say(messages.sasl_initial_response(SCRAM, b"n,,n=,r=nonce"))
                challenge = (await client.message())[1][4:]
            if steps == 2:
                nonce = challenge.split(b",")[0][2:]
                client.say(messages.sasl_response(wrong % nonce))
            client.say(said * 3 + messages.sync())
            assert (await client.refusal())["C"] == ("28P01" if steps == 2 else "08P01")
        assert bed.sessions == []


@pytest.mark.parametrize("length", [4, 32, 256])
async def test_cancel_requests(length):
    async with doorstep() as bed:
        bed.has_room = False  # who waits for room must be able to cancel
        client = await bed.raw()
        client.say(messages.cancel_request(7, b"k" * length))
        assert await client.rest() == b""
        assert bed.cancels == [(7, b"k" * length)]


async def test_a_cancel_that_takes_too_long_is_ended():
    async with doorstep(login_timeout_seconds=0.2) as bed:
        bed.cancel_takes = 60
        client = await bed.raw()
        client.say(messages.cancel_request(7, b"key1"))
        assert await client.rest() == b""
        assert bed.doorstep.logging_in == 0


async def test_no_room():
    async with doorstep() as bed:
        bed.has_room = False
        told = await bed.connect()
        assert "sorry, too many clients already" in told
        client = await bed.raw()
        client.say(STARTUP)
        assert (await client.refusal())["C"] == "53300"
        assert bed.doorstep.failures == {"limit": 2}


async def test_logins_at_once_are_bounded():
    async with doorstep(most_logins=3) as bed:
        waiting = [await bed.raw() for _ in range(3)]
        await eventually_async(lambda: bed.doorstep.logging_in == 3)
        assert await (await bed.raw()).rest() == b""
        waiting[0].writer.transport.abort()
        await eventually_async(lambda: bed.doorstep.logging_in == 2)
        assert await bed.connect(dbname="open") == "ok"
        for client in waiting:
            client.writer.transport.abort()


async def test_slow_clients_are_closed_and_hold_nobody_up():
    async with doorstep(login_timeout_seconds=2.0) as bed:
        slow = [await bed.raw() for _ in range(200)]
        for client in slow[:100]:
            client.say(STARTUP[:3])
        for client in slow[100:150]:
            client.say(STARTUP[:20])
        assert await bed.connect() == "ok"
        began = time.process_time()
        await asyncio.sleep(0.5)
        assert time.process_time() - began < 0.1  # nobody spins while they wait
        ends = await asyncio.gather(*[client.rest() for client in slow])
        assert set(ends) == {b""}
        assert bed.doorstep.failures == {"timeout": 200}
        half = await bed.raw()
        half.say(SCRAM_STARTUP)
        await half.message()
        assert (await half.refusal())["C"] == "57014"


async def test_a_session_may_still_refuse():
    async with doorstep() as bed:
        bed.welcome_fails = BackendUnreachable("no node", hint="wait")
        client = await bed.raw()
        client.say(STARTUP)
        fields = await client.refusal()
        assert (fields["C"], fields["M"], fields["H"]) == ("08001", "no node", "wait")


async def test_a_bug_behind_the_door_closes_one_client_only(caplog):
    async with doorstep() as bed:
        bed.welcome_fails = RuntimeError("a bug")
        client = await bed.raw()
        client.say(STARTUP)
        fields = await client.refusal()
        assert (fields["C"], "bug" in fields["M"]) == ("XX000", False)
        bed.welcome_fails = None
        assert await bed.connect() == "ok"
    assert "RuntimeError: a bug" in caplog.text


async def test_the_unix_socket(tmp_path):
    path = str(tmp_path / ".s.PGSQL.6432")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    async with doorstep(sockets=[listening]) as bed:
        assert await bed.connect(host=str(tmp_path), port=6432) == "ok"
        assert bed.sessions[0][1].method == "trust"
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(messages.SSL_REQUEST)
        assert await reader.readexactly(1) == b"N"
        writer.transport.abort()
    listening.close()


class ShortOfFiles:
    """A listening socket whose accept fails for a while."""

    def __init__(self, listening):
        self.listening = listening
        self.refuses = 0
        self.refused = 0

    def accept(self):
        if self.refuses:
            self.refuses -= 1
            self.refused += 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return self.listening.accept()

    def __getattr__(self, name):
        return getattr(self.listening, name)


async def test_out_of_file_descriptors(caplog):
    listening = socket.create_server(("127.0.0.1", 0))
    short = ShortOfFiles(listening)
    async with doorstep(sockets=[short]) as bed:
        short.refuses = 3
        began = time.monotonic()
        assert await bed.connect(port=listening.getsockname()[1]) == "ok"
        assert time.monotonic() - began >= 0.3
        assert short.refused == 3
        assert caplog.text.count("accept_failed") == 1
        short.refuses = 1
        assert await bed.connect(port=listening.getsockname()[1]) == "ok"
        assert caplog.text.count("accept_failed") == 2
    listening.close()


async def test_closing_stops_to_accept_and_lets_logins_end():
    async with doorstep() as bed:
        client = await bed.raw()
        await eventually_async(lambda: bed.doorstep.logging_in == 1)
        bed.doorstep.close()
        late = await bed.raw()  # the kernel takes it; the next process accepts it
        client.say(STARTUP)
        assert (await client.message())[0] == b"R"
        await asyncio.sleep(0.05)
        assert bed.doorstep.logging_in == 0
        bed.doorstep.open()
        late.say(STARTUP)
        assert (await late.message())[0] == b"R"
        for each in (client, late):
            each.writer.transport.abort()


async def test_the_users_change_without_a_restart():
    async with doorstep() as bed:
        assert await bed.connect() == "ok"
        bed.doorstep.door = make_door(users={})
        assert "password authentication failed" in await bed.connect()


async def test_no_socket_is_left_open():
    async with doorstep(login_timeout_seconds=0.3) as bed:
        assert await bed.connect() == "ok"
        await eventually_async(lambda: all(transport.is_closing() for transport in bed.transports))
        await asyncio.sleep(0.05)
        before = len(os.listdir("/proc/self/fd"))
        for raw in (b"", b"\0", b"GET / HTTP", STARTUP[:9], SCRAM_STARTUP, messages.SSL_REQUEST):
            client = await bed.raw()
            client.say(raw)
            await client.rest()
        await eventually_async(lambda: bed.doorstep.logging_in == 0)
        await asyncio.sleep(0.05)
        assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("seed", range(3))
async def test_noise_disturbs_nobody(seed):
    """Recorded first packets and SASL messages with bytes changed, cut and doubled."""
    rng = random.Random(seed)
    recorded = [
        STARTUP,
        SCRAM_STARTUP,
        messages.SSL_REQUEST,
        messages.GSSENC_REQUEST,
        messages.cancel_request(1, b"key1"),
        SCRAM_STARTUP + messages.sasl_initial_response(SCRAM, b"n,,n=,r=nonce"),
        SCRAM_STARTUP + messages.sasl_response(b"c=biws,r=nonce,p=AAAA") * 2,
    ]

    async def disturb(bed):
        raw = bytearray(rng.choice(recorded) + rng.randbytes(rng.choice((0, 0, 3, 300))))
        for _ in range(rng.randrange(4)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        client = await bed.raw()
        client.say(bytes(raw[: rng.choice((len(raw), rng.randrange(len(raw)))) or 1]))
        if rng.random() < 0.5:
            client.writer.write_eof()
        await client.rest()

    nobody_trusted = replace(make_door(), rules=read_rules(["host all all all scram-sha-256"]))
    async with doorstep(nobody_trusted, login_timeout_seconds=0.3) as bed:
        for _ in range(5):
            await asyncio.gather(*[disturb(bed) for _ in range(40)])
            assert await bed.connect() == "ok"
        await eventually_async(lambda: bed.doorstep.logging_in == 0)
        assert len(bed.sessions) == 5
