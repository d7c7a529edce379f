"""A client of the Postgres protocol that sends what it is told to, and hides nothing."""

import asyncio
import socket
import struct
from contextlib import suppress
from typing import NamedTuple, Self

from shardrouter.wire import messages
from tests.support.eventually import PATIENCE

ANSWER_SECONDS = 20.0
_CHUNK_BYTES = 65_536


class Message(NamedTuple):
    """What a server said."""

    kind: str
    body: bytes

    def fields(self) -> dict[str, str]:
        """Return the fields of an ErrorResponse or NoticeResponse."""
        return messages.read_error_fields(self.body)

    def columns(self) -> list[bytes | None]:
        """Return the values of a DataRow."""
        found: list[bytes | None] = []
        at = 2
        for _ in range(int.from_bytes(self.body[:2])):
            size = int.from_bytes(self.body[at : at + 4], signed=True)
            at += 4
            found.append(None if size < 0 else self.body[at : at + size])
            at += max(size, 0)
        return found


class RawClient:
    """One connection, logged in by trust. ``pid`` and ``key`` are those to cancel it with."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.pid = 0
        self.key = b""
        self.parameters: dict[str, str] = {}
        self._data = b""
        self._at = 0

    @classmethod
    async def connect(
        cls, port: int, database: str, user: str = "postgres", *, version: int = 196608, **more: str
    ) -> Self:
        """Connect and log in; ``more`` are startup parameters."""
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        parameters = {"user": user, "database": database, **more}
        client.send(messages.startup(parameters, version))
        for message in await client.until("Z", "E"):
            if message.kind == "K":
                client.pid = int.from_bytes(message.body[:4])
                client.key = message.body[4:]
            elif message.kind == "S":
                name, value = message.body.split(b"\0")[:2]
                client.parameters[name.decode()] = value.decode()
            elif message.kind == "E":
                client.abort()
                raise ConnectionRefusedError(message.fields().get("M"))
        return client

    def send(self, *data: bytes) -> None:
        """Write without waiting."""
        self.writer.write(b"".join(data))

    async def read(self) -> Message:
        """Return the next message. Raises ConnectionError at the end of the connection."""
        while True:
            have = len(self._data) - self._at
            if have >= 5:
                (length,) = struct.unpack_from("!I", self._data, self._at + 1)
                if have > length:
                    start, self._at = self._at, self._at + 1 + length
                    kind = chr(self._data[start])
                    return Message(kind, self._data[start + 5 : self._at])
            async with asyncio.timeout(ANSWER_SECONDS * PATIENCE):
                chunk = await self.reader.read(_CHUNK_BYTES)
            if not chunk:
                raise ConnectionError("the server closed the connection")
            self._data = self._data[self._at :] + chunk
            self._at = 0

    async def until(self, *kinds: str) -> list[Message]:
        """Return all messages up to the first of one of these kinds."""
        found = [await self.read()]
        while found[-1].kind not in kinds:
            found.append(await self.read())
        return found

    async def ask(self, *data: bytes) -> list[Message]:
        """Send, and return what comes up to the next ReadyForQuery."""
        self.send(*data)
        return await self.until("Z")

    async def query(self, text: str) -> list[Message]:
        """Run a simple query."""
        return await self.ask(messages.query(text))

    async def value(self, text: str) -> str | None:
        """Return the first value that a simple query gives, or the SQLSTATE of its error."""
        for message in await self.query(text):
            if message.kind == "D":
                value = message.columns()[0]
                return None if value is None else value.decode()
            if message.kind == "E":
                return message.fields()["C"]
        return None

    async def close(self) -> None:
        """Say goodbye and close."""
        self.send(messages.terminate())
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()

    def abort(self) -> None:
        """Close by a reset: nothing that was not sent yet is sent."""
        if self.writer.is_closing():
            return
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


async def send_cancel(port: int, pid: int, key: bytes) -> bytes:
    """Send a CancelRequest and return what is said before the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(messages.cancel_request(pid, key))
    async with asyncio.timeout(ANSWER_SECONDS * PATIENCE):
        said = await reader.read()
    writer.close()
    return said


def kinds(found: list[Message]) -> str:
    """Return the types of messages as one word."""
    return "".join(message.kind for message in found)
