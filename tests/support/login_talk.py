"""A login talk without sockets: what the client says, and what it gets."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar, cast

from shardrouter.proxy.channel import MessageChannel, Peer, TlsFacts
from shardrouter.wire import messages

T = TypeVar("T")
TCP = Peer("192.0.2.7", 50000, is_unix=False)
UNIX = Peer("", 0, is_unix=True)


def tls_peer(*names: str, binding: bytes | None = None) -> Peer:
    facts = TlsFacts("TLSv1.3", "x", certificate_names=names, binding=binding)
    return Peer("192.0.2.7", 50000, is_unix=False, tls=facts)


class FakeTransport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.is_closed = False
        self.is_reading = True

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = True

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True


class Talk:
    """The client's end of a channel."""

    def __init__(self, peer: Peer = TCP) -> None:
        self.transport = FakeTransport()
        self.channel = MessageChannel(peer)
        self.channel.connection_made(cast("Any", self.transport))

    def say(self, data: bytes) -> None:
        self.channel.data_received(data)

    def hang_up(self) -> None:
        self.channel.eof_received()
        self.channel.connection_lost(None)

    def heard(self) -> list[tuple[bytes, bytes]]:
        """Return the messages that came since the last question, as (type, body)."""
        raw = bytes(self.transport.written)
        self.transport.written.clear()
        found = []
        while raw:
            length = int.from_bytes(raw[1:5])
            found.append((raw[:1], raw[5 : length + 1]))
            raw = raw[length + 1 :]
        return found

    async def hear(self) -> list[tuple[bytes, bytes]]:
        """Let the other side work until it waits again, then return what it said."""
        for _ in range(20):
            await asyncio.sleep(0)
        return self.heard()


async def outcome(work: Awaitable[T]) -> T | Exception:
    """Return what the work returns or raises, within a second."""
    try:
        async with asyncio.timeout(1):
            return await work
    except Exception as error:
        return error


def sasl(mechanism: str, data: bytes) -> bytes:
    return messages.sasl_initial_response(mechanism, data)
