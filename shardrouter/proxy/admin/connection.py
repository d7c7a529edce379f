"""The connection of an admin client: takes its transport over after login, until it ends.

Bytes become messages here and wait in a short queue; one task answers them in order, so that a
command that takes long (PAUSE) holds back only its own client. What they mean: ``admin.talk``.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from shardrouter.build import describe
from shardrouter.control.tasks import spawn
from shardrouter.errors import ClientProtocolError
from shardrouter.proxy.admin import AdminContext
from shardrouter.proxy.admin.talk import MESSAGE_TYPES, AdminTalk
from shardrouter.wire import messages

logger = logging.getLogger(__name__)

MOST_BYTES: Final = 1 << 20  # of one message, and of all that wait for their answer
_HEADER_BYTES: Final = 5
_TERMINATE: Final = ord("X")

# What drivers ask of a server. The oldest version that is supported, so that no psql warns.
_PARAMETERS: Final = {
    "server_version": f"15.0 ({describe()})",
    "server_encoding": "UTF8",
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "integer_datetimes": "on",
    "standard_conforming_strings": "on",
    "is_superuser": "off",
    "in_hot_standby": "off",
    "default_transaction_read_only": "off",
}


class AdminConnection(asyncio.Protocol):
    """One admin client. Everything happens on the event loop of its worker.

    Invariant: after ``connection_lost`` nothing runs any more for this client.
    """

    def __init__(
        self, context: AdminContext, on_end: Callable[["AdminConnection"], object] | None = None
    ) -> None:
        self._talk = AdminTalk(context)
        self._user = context.user
        self._on_end = on_end
        self._transport: asyncio.Transport | None = None
        self._unread = bytearray()
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._waiting_bytes = 0
        self._broken: str | None = None
        self._last_words: tuple[str, str] | None = None
        self._task: asyncio.Task[None] | None = None
        self._may_write = asyncio.Event()
        self._may_write.set()

    def take_over(
        self, transport: asyncio.Transport, leftover: bytes = b"", *, pid: int, key: bytes
    ) -> None:
        """Greet the client that has just logged in (AuthenticationOk is sent), and serve it.

        ``leftover`` are bytes that came behind the login; ``pid`` and ``key`` are for its cancel
        requests, which come in by ``cancel``.
        """
        self._transport = transport
        transport.set_protocol(self)
        parameters = {**_PARAMETERS, "session_authorization": self._user}
        greeting = [messages.parameter_status(name, text) for name, text in parameters.items()]
        greeting += (messages.backend_key_data(pid, key), messages.ready())
        transport.write(b"".join(greeting))
        if leftover:
            self.data_received(leftover)
        if not transport.is_closing() and self._waiting_bytes <= MOST_BYTES:
            transport.resume_reading()

    def cancel(self) -> None:
        """End the command that runs with 57014."""
        self._talk.cancel()

    def end(self, sqlstate: str, reason: str) -> None:
        """Tell the client why, and close."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(messages.error_response("FATAL", sqlstate, reason))
            self._transport.close()

    def end_soon(self, sqlstate: str, reason: str) -> None:
        """The same, when the command that runs has been answered."""
        if self._task is None:
            self.end(sqlstate, reason)
        else:
            self._last_words = (sqlstate, reason)

    def data_received(self, data: bytes) -> None:
        if self._broken is not None:
            return
        self._unread += data
        self._split()
        if self._waiting_bytes > MOST_BYTES and self._transport is not None:
            self._transport.pause_reading()
        if self._task is None and (self._waiting or self._broken is not None):
            self._task = spawn(self._serve(), name="admin client")

    def connection_lost(self, error: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()
        self._waiting.clear()
        self._may_write.set()
        if self._on_end is not None:
            self._on_end(self)

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def _split(self) -> None:
        """Move whole messages from the unread bytes to the queue."""
        unread = self._unread
        at = 0
        while len(unread) - at >= _HEADER_BYTES:
            kind = unread[at]
            length = int.from_bytes(unread[at + 1 : at + _HEADER_BYTES], "big")
            if kind not in MESSAGE_TYPES:
                self._broken = f"invalid frontend message type {kind}"
                break
            if not 4 <= length <= MOST_BYTES:
                self._broken = "invalid message length"
                break
            end = at + 1 + length
            if len(unread) < end:
                break
            self._waiting.append((kind, bytes(unread[at + _HEADER_BYTES : end])))
            self._waiting_bytes += length + 1
            at = end
        del unread[: at if self._broken is None else len(unread)]

    async def _serve(self) -> None:
        """Answer what waits, in order, then stop until more comes."""
        transport = self._transport
        assert transport is not None
        try:
            while self._waiting and self._last_words is None:
                kind, body = self._waiting.popleft()
                if kind == _TERMINATE:
                    transport.close()
                    return
                transport.write(await self._talk.answer(kind, body))
                await self._may_write.wait()
                self._waiting_bytes -= len(body) + _HEADER_BYTES
                if self._waiting_bytes <= MOST_BYTES and not transport.is_closing():
                    transport.resume_reading()
            if self._last_words is not None:
                self.end(*self._last_words)
            elif self._broken is not None:
                self.end("08P01", self._broken)
        except ClientProtocolError as error:
            self.end(error.sqlstate, error.message)
        except Exception:
            logger.exception("admin_command_failed user=%s", self._user)
            self.end("XX000", "the command failed; the proxy's log says why")
        finally:
            self._task = None
