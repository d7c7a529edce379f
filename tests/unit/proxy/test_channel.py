import asyncio

import pytest

from shardrouter.errors import (
    BackendLost,
    BackendProtocolError,
    ClientProtocolError,
    ConnectionLost,
)
from shardrouter.proxy.channel import MOST_UNREAD_BYTES, MessageChannel
from shardrouter.wire import messages
from tests.support.login_talk import Talk, outcome


@pytest.mark.parametrize("step", [1, 2, 5, 1000])
async def test_messages_arrive_whole_however_they_are_cut(step):
    talk = Talk()
    raw = messages.query("one") + messages.sync() + messages.query("two")
    read = asyncio.gather(*[talk.channel.read(100) for _ in range(1)])
    for at in range(0, len(raw), step):
        talk.say(raw[at : at + step])
        await asyncio.sleep(0)
    assert await read == [(0x51, b"one\0")]
    assert await talk.channel.read(100) == (0x53, b"")
    assert await talk.channel.read(100) == (0x51, b"two\0")
    assert not talk.channel.has_unread


@pytest.mark.parametrize("length", [-1, 0, 3, 101, 2**31 - 1, 2**32 - 1])
async def test_impossible_lengths_are_refused_at_the_header(length):
    talk = Talk()
    talk.say(b"p" + (length % 2**32).to_bytes(4))
    assert isinstance(await outcome(talk.channel.read(100)), ClientProtocolError)


@pytest.mark.parametrize("length", [-1, 0, 3, 4, 7, 10_001, 2**32 - 1])
async def test_impossible_lengths_of_first_packets(length):
    talk = Talk()
    talk.say((length % 2**32).to_bytes(4))
    assert isinstance(await outcome(talk.channel.read_startup()), ClientProtocolError)


async def test_a_first_packet_behind_leading_bytes():
    packet = messages.startup({"user": "ann"})
    talk = Talk()
    talk.channel = MessageChannel(leading=packet[:8])
    talk.channel.connection_made(talk.transport)
    talk.say(packet[8:] + b"more")
    assert await talk.channel.read_startup() == packet[4:]
    assert talk.channel.detach() == b"more"


async def test_the_end_is_told_after_what_came_before_it():
    talk = Talk()
    talk.say(messages.sync() + b"p\0\0")
    talk.hang_up()
    assert await talk.channel.read(100) == (0x53, b"")
    assert isinstance(await outcome(talk.channel.read(100)), ConnectionLost)
    assert talk.channel.is_over


async def test_the_end_wakes_who_waits():
    talk = Talk()
    read = asyncio.ensure_future(outcome(talk.channel.read(100)))
    await asyncio.sleep(0)
    talk.hang_up()
    assert isinstance(await read, ConnectionLost)


async def test_errors_are_those_of_the_side():
    channel = MessageChannel(broken=BackendProtocolError, lost=BackendLost)
    channel.connection_made(Talk().transport)
    channel.data_received(b"R\0\0\0\0")
    assert isinstance(await outcome(channel.read(100)), BackendProtocolError)
    other = MessageChannel(broken=BackendProtocolError, lost=BackendLost)
    other.connection_made(Talk().transport)
    other.connection_lost(None)
    assert isinstance(await outcome(other.read(100)), BackendLost)


async def test_who_sends_unasked_is_not_read_from():
    talk = Talk()
    talk.say(b"x" * (MOST_UNREAD_BYTES + 1))
    assert not talk.transport.is_reading
    assert len(talk.channel.detach()) == MOST_UNREAD_BYTES + 1
    assert talk.transport.is_reading


async def test_a_long_message_is_read_on():
    talk = Talk()
    body = b"x" * MOST_UNREAD_BYTES
    talk.say(messages.typed(b"d", body)[:-1])
    assert not talk.transport.is_reading
    read = asyncio.ensure_future(talk.channel.read(2 * MOST_UNREAD_BYTES))
    await asyncio.sleep(0)
    assert talk.transport.is_reading
    talk.say(b"x")
    assert await read == (0x64, body)


async def test_what_follows_a_refusal_is_dropped():
    talk = Talk()
    talk.channel.refuse("28000", "no")
    assert [kind for kind, _ in talk.heard()] == [b"E"]
    talk.say(messages.query("drop table x"))
    talk.channel.write(b"late")
    assert talk.heard() == []
    assert not talk.channel.has_unread


async def test_nothing_is_refused_after_detaching():
    talk = Talk()
    talk.channel.detach()
    talk.channel.refuse("28000", "no")
    assert talk.heard() == []
    assert not talk.transport.is_closed
