"""Bytes of an admin client: cut anywhere, bounded, broken, too fast."""

import asyncio
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardrouter.proxy.admin.connection import MOST_BYTES, AdminConnection
from shardrouter.wire import messages as m
from tests.support.admin_script import kinds, read_all
from tests.support.fake_workers import FakeWorkers


class FakeTransport:
    """Takes what is written; counts pauses. Closing it loses the connection soon."""

    def __init__(self) -> None:
        self.on_close: asyncio.Protocol | None = None
        self.written = b""
        self.closed = False
        self.is_paused = False
        self.protocol: object = None

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        if not self.closed and self.on_close is not None:
            asyncio.get_running_loop().call_soon(self.on_close.connection_lost, None)
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def set_protocol(self, protocol: asyncio.Protocol) -> None:
        self.protocol = self.on_close = protocol

    def taken(self) -> bytes:
        taken, self.written = self.written, b""
        return taken


@pytest.fixture
def workers() -> FakeWorkers:
    return FakeWorkers()


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport()


@pytest.fixture
def connection(workers: FakeWorkers, transport: FakeTransport) -> AdminConnection:
    made = AdminConnection(workers.context())
    made.take_over(cast("Any", transport), pid=7, key=b"1234")
    return made


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_greeting_says_what_drivers_ask_for(
    connection: AdminConnection, transport: FakeTransport
) -> None:
    greeting = read_all(transport.taken())
    assert transport.protocol is connection
    assert [message.kind for message in greeting[-2:]] == ["K", "Z"]
    assert greeting[-2].body == b"\0\0\0\x071234"
    parameters = dict(message.body.split(b"\0")[:2] for message in greeting[:-2])
    assert parameters[b"client_encoding"] == b"UTF8"
    assert parameters[b"session_authorization"] == b"shardrouter_admin"
    assert parameters[b"server_version"].startswith(b"15.0 (shardrouter")


async def test_what_came_behind_the_login_is_answered(
    workers: FakeWorkers, transport: FakeTransport
) -> None:
    connection = AdminConnection(workers.context())
    connection.take_over(cast("Any", transport), m.query("show version"), pid=7, key=b"1234")
    await settle()
    assert kinds(transport.taken()).endswith("KZTDCZ")


@pytest.mark.parametrize("size", [1, 2, 5, 7, 1000])
async def test_bytes_may_be_cut_anywhere(
    size: int, connection: AdminConnection, transport: FakeTransport
) -> None:
    transport.taken()
    sent = m.query("show version") + m.parse("", "resume") + m.sync()
    for at in range(0, len(sent), size):
        connection.data_received(sent[at : at + size])
        await settle()
    assert kinds(transport.taken()) == "TDCZ1Z"


async def test_pipelined_queries_are_answered_in_order(
    connection: AdminConnection, transport: FakeTransport
) -> None:
    transport.taken()
    connection.data_received(m.query("show version") * 50 + m.terminate())
    for _ in range(50):
        await settle()
    assert kinds(transport.taken()) == "TDCZ" * 50
    assert transport.closed


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x00\x00\x00",
        b"Q\0\0\0\3",
        b"Q\xff\xff\xff\xff",
        b"Q" + (MOST_BYTES + 1).to_bytes(4, "big"),
        b"p\0\0\0\5\0",
        b"Q\0\0\0\5x",
    ],
)
async def test_malformed_input_is_answered_and_closed(
    sent: bytes, connection: AdminConnection, transport: FakeTransport
) -> None:
    transport.taken()
    connection.data_received(m.query("show version") + sent)
    connection.data_received(m.query("show version"))
    await settle()
    said = read_all(transport.taken())
    assert "".join(message.kind for message in said) == "TDCZE"
    fields = m.read_error_fields(said[-1].body)
    assert (fields["S"], fields["C"]) == ("FATAL", "08P01")
    assert transport.closed


async def test_a_client_that_sends_faster_than_is_answered_is_not_read(
    connection: AdminConnection, transport: FakeTransport, workers: FakeWorkers
) -> None:
    workers.drains_seconds = 30.0
    transport.taken()
    connection.data_received(m.query("pause"))
    comment = m.query("-- " + "x" * (MOST_BYTES // 4))
    for _ in range(5):
        connection.data_received(comment)
    await settle()
    assert transport.is_paused
    connection.cancel()
    await settle()
    assert not transport.is_paused
    assert kinds(transport.taken()) == "EZ" + "IZ" * 5


async def test_a_client_that_does_not_read_is_waited_for(
    connection: AdminConnection, transport: FakeTransport
) -> None:
    transport.taken()
    connection.pause_writing()
    connection.data_received(m.query("show version") * 3)
    await settle()
    assert kinds(transport.taken()) == "TDCZ"
    connection.resume_writing()
    await settle()
    assert kinds(transport.taken()) == "TDCZ" * 2


async def test_a_lost_connection_ends_its_command(
    transport: FakeTransport, workers: FakeWorkers
) -> None:
    workers.drains_seconds = 30.0
    ended: list[AdminConnection] = []
    connection = AdminConnection(workers.context(), ended.append)
    connection.take_over(cast("Any", transport), pid=7, key=b"1234")
    connection.data_received(m.query("pause"))
    await settle()
    connection.connection_lost(None)
    await settle()
    assert ended == [connection]
    assert not [t for t in asyncio.all_tasks() if t.get_name().startswith("admin")]


async def test_a_command_that_fails_badly_closes_one_connection(
    workers: FakeWorkers, transport: FakeTransport, caplog: pytest.LogCaptureFixture
) -> None:
    workers.rows["clients"] = [[{"nonsense": 1}]]
    connection = AdminConnection(workers.context())
    connection.take_over(cast("Any", transport), pid=7, key=b"1234")
    transport.taken()
    connection.data_received(m.query("show clients"))
    await settle()
    fields = m.read_error_fields(read_all(transport.taken())[-1].body)
    assert fields["C"] == "XX000"
    assert "nonsense" not in fields["M"]
    assert transport.closed
    assert "admin_command_failed" in caplog.text


async def test_the_end_of_the_proxy_is_told(
    connection: AdminConnection, transport: FakeTransport
) -> None:
    transport.taken()
    connection.end("57P01", "the proxy stops")
    connection.end("57P01", "the proxy stops")
    [said] = read_all(transport.taken())
    assert m.read_error_fields(said.body)["C"] == "57P01"
    assert transport.closed


async def test_a_command_that_runs_is_answered_before_the_end(
    connection: AdminConnection, transport: FakeTransport
) -> None:
    transport.taken()
    connection.data_received(m.query("drain") + m.query("show version"))
    connection.end_soon("57P01", "the proxy stops")
    await settle()
    assert kinds(transport.taken()) == "E"  # nothing had begun yet
    assert transport.closed


async def test_the_end_waits_for_the_answer_only(
    connection: AdminConnection, transport: FakeTransport, workers: FakeWorkers
) -> None:
    workers.drains_seconds = 30.0
    transport.taken()
    connection.data_received(m.query("pause") + m.query("show version"))
    await settle()
    connection.end_soon("57P01", "the proxy stops")
    assert not transport.closed
    connection.cancel()
    await settle()
    assert kinds(transport.taken()) == "EZE"
    assert transport.closed


TYPES = [bytes([kind]) for kind in b"QPBDECSHXFdcfpZ"]
MESSAGES = st.one_of(
    st.binary(max_size=40),
    st.builds(m.typed, st.sampled_from(TYPES), st.binary(max_size=30)),
    st.builds(m.query, st.sampled_from(["show clients", "begin", "commit", "nonsense", ";"])),
    st.sampled_from([m.parse("", "show pools"), m.bind("", ""), m.describe(b"P", "")]),
    st.sampled_from([m.execute("", 1), m.sync()]),
)


@given(st.lists(MESSAGES, max_size=12), st.integers(1, 50))
@settings(deadline=None)
def test_whatever_is_sent_the_answer_is_whole_messages(sent: list[bytes], size: int) -> None:
    async def talk() -> bytes:
        transport = FakeTransport()
        connection = AdminConnection(FakeWorkers().context())
        connection.take_over(cast("Any", transport), pid=7, key=b"1234")
        stream = b"".join(sent)
        for at in range(0, len(stream), size):
            if not transport.closed:
                connection.data_received(stream[at : at + size])
                await asyncio.sleep(0)
        await settle()
        return transport.written

    said = read_all(asyncio.run(talk()))
    ends = [m.read_error_fields(each.body) for each in said if each.kind == "E"]
    assert not [end for end in ends if end["C"] == "XX000"]
    assert all(end["S"] == "ERROR" for end in ends[:-1])
