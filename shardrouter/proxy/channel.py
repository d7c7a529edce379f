"""Read and write whole messages while one side logs in at the other; the relay takes over later.

One class for both legs: a client at our door, and us at a node. Nothing is allocated for a length
that was only declared, and a side that sends much while nobody reads is not read from.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Final, cast

from shardrouter.errors import BackendError, ClientProtocolError, ConnectionLost, ProtocolError
from shardrouter.wire import messages

MOST_UNREAD_BYTES: Final = 256 * 1024  # more than any message of a login; then reading pauses


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """What the TLS of a connection proved."""

    version: str
    cipher: str
    alpn: str | None = None
    certificate_names: tuple[str, ...] = ()
    """Common names of the other side's verified certificate."""
    binding: bytes | None = field(default=None, repr=False)
    """The server's certificate as SCRAM's ``tls-server-end-point``; None: it has no such hash."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The other side of a connection."""

    address: str
    """Of TCP; empty for a Unix socket."""
    port: int
    is_unix: bool
    tls: TlsFacts | None = None

    def __str__(self) -> str:
        return "[local]" if self.is_unix else f"{self.address}:{self.port}"


UNKNOWN_PEER: Final = Peer("", 0, is_unix=True)


class MessageChannel(asyncio.Protocol):
    """The protocol of a transport during a login.

    ``broken`` is raised for messages that cannot be, ``lost`` when the connection ended.
    ``leading`` are bytes that were read before there was a transport.
    """

    transport: asyncio.Transport

    def __init__(
        self,
        peer: Peer = UNKNOWN_PEER,
        *,
        leading: bytes = b"",
        broken: type[ProtocolError] = ClientProtocolError,
        lost: type[ConnectionLost | BackendError] = ConnectionLost,
    ) -> None:
        self.peer = peer
        self._unread = bytearray(leading)
        self._broken = broken
        self._lost = lost
        self._waiter: asyncio.Future[None] | None = None
        self._is_over = False
        self._is_paused = False
        self.is_detached = False
        """True when the transport is another protocol's."""

    async def read(self, limit: int) -> tuple[int, bytes]:
        """Return type and body of the next message, whose length field may be up to ``limit``."""
        unread = self._unread
        while True:
            have = len(unread)
            if have >= 5:
                length = int.from_bytes(unread[1:5])
                if not 4 <= length <= limit:
                    raise self._broken(f"a message of type {unread[0]} and length {length}")
                if have > length:
                    kind, body = unread[0], bytes(unread[5 : length + 1])
                    self._consume(length + 1)
                    return kind, body
            await self._more()

    async def read_startup(self, limit: int = 10_000) -> bytes:
        """Return the body of a packet that has no type byte, of ``limit`` bytes at most in all."""
        unread = self._unread
        while True:
            have = len(unread)
            if have >= 4:
                length = int.from_bytes(unread[:4])
                if not 8 <= length <= limit:
                    raise self._broken("invalid length of startup packet")
                if have >= length:
                    body = bytes(unread[4:length])
                    self._consume(length)
                    return body
            await self._more()

    def write(self, data: bytes) -> None:
        """Send, or drop where the connection is over already."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def refuse(self, sqlstate: str, text: str, hint: str | None = None) -> None:
        """Say why, and close; not where another protocol has the transport."""
        if not self.is_detached:
            self.write(messages.error_response("FATAL", sqlstate, text, hint))
            self.close()

    def close(self) -> None:
        self.transport.close()

    def detach(self) -> bytes:
        """Return what was read and not used; the transport gets its next protocol at once."""
        self.is_detached = True
        left = bytes(self._unread)
        self._unread.clear()
        self._resume()
        return left

    @property
    def is_over(self) -> bool:
        """True when nothing more will come."""
        return self._is_over

    @property
    def has_unread(self) -> bool:
        """True when bytes came that nobody asked for yet."""
        return bool(self._unread)

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return  # refused already: what still comes is not looked at
        self._unread += data
        if len(self._unread) > MOST_UNREAD_BYTES and not self._is_paused:
            self._is_paused = True
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._is_over = True
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self._is_over = True
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _more(self) -> None:
        if self._is_over:
            raise self._lost()
        self._resume()
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _consume(self, count: int) -> None:
        del self._unread[:count]

    def _resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self.transport.resume_reading()
