"""A TCP relay that does to its connections what networks do: freeze, cut, slice, swallow, lie."""

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

BYTES: Final = 65536
POLL_SECONDS: Final = 0.005
CALL_SECONDS: Final = 10.0
UP, DOWN = "to the server", "to the client"

T = TypeVar("T")


class ChaosRelay:
    """Relays to 127.0.0.1:``target`` from ``self.port``. What it does may change at any time.

    ``piece_bytes``: everything goes on in pieces of this size, each in a packet of its own.
    ``swallowed``: directions (UP, DOWN) whose bytes are read and lost.
    ``lies``: to who says such a word, this is answered in the place of what the server says.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.piece_bytes = BYTES
        self.swallowed: set[str] = set()
        self.lies: dict[bytes, bytes] = {}
        self.closes_after_lie = False
        self._is_frozen = False
        self._links: set[_Link] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server: asyncio.Server = self._call(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def connections(self) -> int:
        """Connections that are relayed now."""
        return len(self._links)

    def freeze(self) -> None:
        """Let nothing through; connections stay open, and new ones are accepted by the kernel."""
        self._is_frozen = True

    def thaw(self) -> None:
        self._is_frozen = False

    def reset(self) -> None:
        """Cut every connection by RST on both sides."""
        self._call(self._each(_Link.reset))

    def half_close(self) -> None:
        """Say FIN to both sides of every connection, and go on reading from them."""
        self._call(self._each(_Link.half_close))

    def refuse(self) -> None:
        """Cut all and accept no more: the port is closed."""
        self._call(self._refuse())

    def accept_again(self) -> None:
        """Undo ``refuse``, on the same port."""
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", self.port))

    def close(self) -> None:
        """End it, and its thread."""
        self._call(self._refuse())
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_SECONDS)
        self._loop.close()

    def _call(self, work: "Coroutine[Any, Any, T]") -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_SECONDS)

    async def _each(self, act: Any) -> None:
        for link in list(self._links):
            act(link)

    async def _refuse(self) -> None:
        self._is_frozen = False
        self._server.close()
        links = list(self._links)
        for link in links:
            link.reset()
        await asyncio.gather(*(link.done.wait() for link in links))

    async def _end(self) -> None:
        own = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not own]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        await asyncio.sleep(0.01)  # transports that were aborted close their sockets

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            await self._while_frozen()
            server = await asyncio.open_connection("127.0.0.1", self.target)
            self._writers.append(server[1])
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
            return
        link = _Link(writer, server[1])
        self._links.add(link)
        try:
            await asyncio.gather(
                self._pump(link, UP, reader, server[1]), self._pump(link, DOWN, server[0], writer)
            )
        finally:
            self._links.discard(link)
            link.done.set()

    async def _pump(
        self, link: "_Link", way: str, source: asyncio.StreamReader, to: asyncio.StreamWriter
    ) -> None:
        try:
            while data := await source.read(BYTES):
                await self._while_frozen()
                if way == UP:
                    self._lie(link, data)
                if way in self.swallowed or (way == DOWN and link.is_lied_to):
                    continue
                for at in range(0, len(data), self.piece_bytes):
                    to.write(data[at : at + self.piece_bytes])
                    await to.drain()
                    if self.piece_bytes < BYTES:
                        await asyncio.sleep(0)
            await self._while_frozen()
        except OSError:
            pass
        if not link.is_half_closed:
            link.hang_up()

    def _lie(self, link: "_Link", data: bytes) -> None:
        for word, lie in self.lies.items():
            if word in data and not link.is_lied_to:
                link.is_lied_to = True
                link.client.write(lie)
                if self.closes_after_lie:
                    link.client.close()

    async def _while_frozen(self) -> None:
        while self._is_frozen:  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)


class _Link:
    """One relayed connection."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.is_lied_to = False
        self.is_half_closed = False
        self.done = asyncio.Event()
        for writer in (client, server):
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def reset(self) -> None:
        for writer in (self.client, self.server):
            sock = writer.get_extra_info("socket")
            if sock is not None and sock.fileno() >= 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def half_close(self) -> None:
        self.is_half_closed = True
        for writer in (self.client, self.server):
            if not writer.is_closing():
                writer.write_eof()

    def hang_up(self) -> None:
        for writer in (self.client, self.server):
            writer.close()
