"""Questions and answers between the parent process and a worker, over a socket pair.

Four bytes of length, then JSON; both sides ask, answers are matched by number. Every question
has a deadline and every message a bound. A side that sends anything else is cut off: the other
one then sees the link closed, as if the process had died.
"""

import asyncio
import itertools
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Self, cast

from shardrouter import errors
from shardrouter.control.tasks import spawn
from shardrouter.errors import ControlLost, ShardRouterError

logger = logging.getLogger(__name__)

ASK_SECONDS: Final = 5.0  # how long an answer may take unless the asker says otherwise
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
MAX_UNSENT_BYTES: Final = 2 * MAX_MESSAGE_BYTES  # the other side has stopped reading
MAX_BEING_ANSWERED: Final = 20_000  # questions of the other side at once
_LENGTH_BYTES: Final = 4

Handler = Callable[..., Awaitable[Any]]


class ControlLink(asyncio.Protocol):
    """One end of the link. Belongs to one event loop."""

    def __init__(self, name: str) -> None:
        self.name = name
        """The process at the other end, for messages."""

        self._handlers: dict[str, Handler] = {}
        self._numbers = itertools.count(1)
        self._open: dict[int, asyncio.Future[Any]] = {}
        self._being_answered: set[asyncio.Task[None]] = set()
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None
        self._closed = asyncio.Event()

    async def open(self, sock: socket.socket) -> Self:
        """Talk over a connected Unix socket, which belongs to the link from now on."""
        sock.setblocking(False)
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=sock)
        return self

    def answer(self, verb: str, handler: Handler) -> None:
        """Have ``handler(**arguments)`` answer that verb of the other side."""
        self._handlers[verb] = handler

    async def ask(
        self, verb: str, /, *, timeout_seconds: float = ASK_SECONDS, **arguments: Any
    ) -> Any:
        """Return the other side's answer.

        Raises ControlLost when there is none in time, or the ShardRouterError raised over there.
        """
        number = next(self._numbers)
        future = asyncio.get_running_loop().create_future()
        self._open[number] = future
        try:
            self._send({"ask": number, "verb": verb, "arguments": arguments})
            async with asyncio.timeout(timeout_seconds):
                return await future
        except TimeoutError:
            raise ControlLost(
                f"{self.name} did not answer {verb} in {timeout_seconds:g} s",
                hint="it is busy or hangs; look at its log lines",
            ) from None
        finally:
            del self._open[number]

    def tell(self, verb: str, /, **arguments: Any) -> None:
        """Say something that is not answered. Without a link nobody hears it."""
        if not self.is_closed:
            self._send({"tell": verb, "arguments": arguments})

    async def call_own(self, verb: str, /, **arguments: Any) -> Any:
        """Run this side's own handler of a verb, as if the other side had asked."""
        return await self._handler(verb)(**arguments)

    def has_answer_to(self, verb: str) -> bool:
        return verb in self._handlers

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set()

    async def wait_closed(self) -> None:
        """Wait until the other side is gone, or was cut off."""
        await self._closed.wait()

    def close(self) -> None:
        """Close this end after what was said is sent."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass

    def data_received(self, data: bytes) -> None:
        self._received += data
        while len(self._received) >= _LENGTH_BYTES:
            end = _LENGTH_BYTES + int.from_bytes(self._received[:_LENGTH_BYTES])
            if end > MAX_MESSAGE_BYTES:
                self._cut_off(f"a message of {end} bytes")
                return
            if len(self._received) < end:
                return
            body = bytes(self._received[_LENGTH_BYTES:end])
            del self._received[:end]
            if not self._take(body):
                self._cut_off("a message that makes no sense")
                return

    def connection_lost(self, error: Exception | None) -> None:
        self._closed.set()
        self._received.clear()
        for future in self._open.values():
            if not future.done():
                future.set_exception(self._lost())

    def _take(self, body: bytes) -> bool:
        try:
            message = json.loads(body)
        except (ValueError, RecursionError):
            return False
        match message:
            case {"ask": int(number), "verb": str(verb), "arguments": dict(arguments)}:
                self._start(self._answer(number, verb, arguments), verb)
            case {"tell": str(verb), "arguments": dict(arguments)}:
                self._start(self._hear(verb, arguments), verb)
            case {"answered": int(number), "value": value}:
                self._settle(number, value)
            case {"answered": int(number), "error": dict(error)}:
                self._settle(number, error_from_data(error))
            case _:
                return False
        return True

    def _settle(self, number: int, value: Any) -> None:
        future = self._open.get(number)
        if future is None or future.done():
            return  # the asker has given up
        if isinstance(value, ShardRouterError):
            future.set_exception(value)
        else:
            future.set_result(value)

    def _start(self, work: Any, verb: str) -> None:
        if len(self._being_answered) >= MAX_BEING_ANSWERED:
            work.close()
            self._cut_off(f"more than {MAX_BEING_ANSWERED} questions at once")
            return
        task = spawn(work, name=f"{verb} of {self.name}")
        self._being_answered.add(task)
        task.add_done_callback(self._being_answered.discard)

    async def _answer(self, number: int, verb: str, arguments: dict[str, Any]) -> None:
        reply: dict[str, Any] = {"answered": number}
        try:
            reply["value"] = await self._handler(verb)(**arguments)
            frame = _frame(reply)
        except ShardRouterError as error:
            frame = _frame({"answered": number, "error": error_to_data(error)})
        except Exception as error:
            # Whatever a question does, the process that was asked goes on.
            logger.exception("control_question_failed verb=%s asker=%s", verb, self.name)
            failure = ShardRouterError(f"{verb} failed: {error!r}", hint="see the log of the proxy")
            frame = _frame({"answered": number, "error": error_to_data(failure)})
        if not self.is_closed:
            self._write(frame)

    async def _hear(self, verb: str, arguments: dict[str, Any]) -> None:
        try:
            await self._handler(verb)(**arguments)
        except Exception:
            logger.exception("control_message_failed verb=%s sender=%s", verb, self.name)

    def _handler(self, verb: str) -> Handler:
        if verb not in self._handlers:
            raise ShardRouterError(
                f"nothing answers {verb!r} here", hint="ask again a moment later"
            )
        return self._handlers[verb]

    def _send(self, message: Mapping[str, Any]) -> None:
        if self.is_closed:
            raise self._lost()
        self._write(_frame(message))

    def _write(self, frame: bytes) -> None:
        assert self._transport is not None
        self._transport.write(frame)
        if self._transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self._cut_off("nothing read for too long")

    def _cut_off(self, what: str) -> None:
        logger.error("control_link_cut name=%s reason=%s", self.name, what)
        assert self._transport is not None
        self._received.clear()
        self._transport.abort()

    def _lost(self) -> ControlLost:
        return ControlLost(f"{self.name} has gone", hint="it is started again; try once more")


def error_to_data(error: ShardRouterError) -> dict[str, Any]:
    """Return an error as it travels to another process."""
    return {
        "class": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "shard": error.shard,
        "node": error.node,
        "epoch": error.epoch,
    }


def error_from_data(data: Mapping[str, Any]) -> ShardRouterError:
    """Return the error another process raised; of the plain class when its own needs more."""
    found = getattr(errors, str(data.get("class")), None)
    kind = ShardRouterError
    if isinstance(found, type) and issubclass(found, ShardRouterError):
        kind = found if found.__init__ is ShardRouterError.__init__ else ShardRouterError
    return kind(
        str(data.get("message") or ""),
        hint=data.get("hint"),
        shard=data.get("shard"),
        node=data.get("node"),
        epoch=data.get("epoch"),
    )


def _frame(message: Mapping[str, Any]) -> bytes:
    body = json.dumps(message, separators=(",", ":")).encode()
    if len(body) + _LENGTH_BYTES > MAX_MESSAGE_BYTES:
        raise ShardRouterError(
            f"a message of {len(body)} bytes is too long for the control link",
            hint=f"at most {MAX_MESSAGE_BYTES} bytes travel at once",
        )
    return len(body).to_bytes(_LENGTH_BYTES) + body
