"""A server that lets everybody in and hands them to the admin database at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

from shardrouter.proxy.admin.connection import AdminConnection
from shardrouter.wire import messages
from tests.support.fake_workers import FakeWorkers

_KEY = b"\1\2\3\4"


@dataclass
class AdminServer:
    """Where it listens, and who is connected."""

    workers: FakeWorkers
    port: int = 0
    connections: list[AdminConnection] = field(default_factory=list)

    def dsn(self, **more: str) -> str:
        pairs = {"host": "127.0.0.1", "port": str(self.port), "dbname": "shardrouter"}
        pairs |= {"user": "shardrouter_admin", "sslmode": "disable", **more}
        return " ".join(f"{name}={value}" for name, value in pairs.items())


class _Login(asyncio.Protocol):
    def __init__(self, server: AdminServer) -> None:
        self._server = server
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are not subclasses

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while len(self._unread) >= 8:
            length = int.from_bytes(self._unread[:4], "big")
            if len(self._unread) < length:
                return
            packet, self._unread = self._unread[:length], self._unread[length:]
            if self._take(packet):
                return

    def _take(self, packet: bytes) -> bool:
        code = int.from_bytes(packet[4:8], "big")
        if code in (messages.SSL_REQUEST_CODE, messages.GSSENC_REQUEST_CODE):
            self._transport.write(b"N")
            return False
        if code == messages.CANCEL_REQUEST_CODE:
            self._server.connections[int.from_bytes(packet[8:12], "big") - 1].cancel()
            self._transport.close()
            return True
        connection = AdminConnection(self._server.workers.context())
        self._server.connections.append(connection)
        self._transport.write(messages.AUTHENTICATION_OK)
        pid = len(self._server.connections)
        connection.take_over(self._transport, self._unread, pid=pid, key=_KEY)
        return True


@asynccontextmanager
async def admin_server(workers: FakeWorkers) -> AsyncIterator[AdminServer]:
    """Serve until the end of the block."""
    made = AdminServer(workers)
    server = await asyncio.get_running_loop().create_server(lambda: _Login(made), "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        for connection in made.connections:
            connection.end("57P01", "the test is over")
        server.close()
        await server.wait_closed()
