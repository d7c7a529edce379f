"""Scripts of bytes for a Postgres, or for something that claims to be one, and what it answered.

A script is a row of turns. Its answers are told without what differs between any two sessions:
object ids, texts of errors, parameter changes.
"""

import select
import socket
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Self

from shardrouter.wire import messages
from tests.support.eventually import PATIENCE

ANSWER_SECONDS: Final = 6.0
END: Final = b"end of the script"
_CHUNK: Final = 1 << 18
_CLOSING: Final = (
    messages.typed(b"f", b"done\0")
    + messages.sync()
    + messages.query("ROLLBACK")
    + messages.query(b"SELECT '" + END + b"'")
)
"""Ends whatever a script left open: a COPY, an extended query, a transaction."""

Answer = tuple[str, object]


class Pace(Enum):
    """How a script is sent."""

    AT_ONCE = "at once"
    BY_TURNS = "by turns"
    BY_BYTES = "by bytes"


@dataclass(frozen=True)
class Turn:
    """Bytes to send, and the kinds of messages to wait for before the next turn, in this order."""

    data: bytes
    until: str = "Z"


class Wire:
    """A blocking connection that reads while it writes."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.sock = socket.create_connection(address, timeout=ANSWER_SECONDS)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.parameters: dict[str, str] = {}
        self.key = b""
        self.pid = 0
        self.is_closed = False
        self._data = bytearray()
        self._at = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.sock.close()

    def start(
        self, parameters: Mapping[str, str], version: int = messages.PROTOCOL_3_0
    ) -> list[tuple[str, bytes]]:
        """Send a startup packet and return what is said up to the first Z, or to the end."""
        self.exchange(messages.startup(parameters, version))
        said = self.until("Z")
        for kind, body in said:
            if kind == "S":
                name, value, _ = body.split(b"\0")
                self.parameters[name.decode()] = value.decode()
            elif kind == "K":
                self.pid, self.key = int.from_bytes(body[:4]), body[4:]
        return said

    def exchange(self, data: bytes) -> None:
        """Send all of it, taking in whatever comes meanwhile."""
        view = memoryview(data)
        deadline = time.monotonic() + ANSWER_SECONDS * PATIENCE
        while view and not self.is_closed:
            readable, writable, _ = select.select([self.sock], [self.sock], [], 1.0)
            if readable:
                self._receive()
            if writable and not self.is_closed:
                try:
                    view = view[self.sock.send(view[:_CHUNK], socket.MSG_DONTWAIT) :]
                except BlockingIOError:
                    pass
                except OSError:  # it hung up: what it said before may still be there to read
                    break
            assert time.monotonic() < deadline, "it reads nothing"

    def read(self) -> tuple[str, bytes] | None:
        """Return the next message; None at the end of the connection."""
        while True:
            have = len(self._data) - self._at
            if have >= 5:
                (length,) = struct.unpack_from("!I", self._data, self._at + 1)
                if have > length:
                    start, self._at = self._at, self._at + 1 + length
                    return chr(self._data[start]), bytes(self._data[start + 5 : self._at])
            if self.is_closed:
                return None
            self.sock.settimeout(ANSWER_SECONDS * PATIENCE)
            self._receive()

    def until(self, kinds: str) -> list[tuple[str, bytes]]:
        """Return messages until each of these kinds has come, in this order, or all is over."""
        said: list[tuple[str, bytes]] = []
        for kind in kinds:
            while (message := self.read()) is not None:
                said.append(message)
                if message[0] == kind:
                    break
        return said

    def _receive(self) -> None:
        try:
            chunk = self.sock.recv(_CHUNK)
        except ConnectionError:
            chunk = b""
        except TimeoutError:
            raise AssertionError(f"no answer; unread: {bytes(self._data[self._at :])!r}") from None
        if self._at:
            del self._data[: self._at]
            self._at = 0
        self._data += chunk
        self.is_closed = not chunk


def play(wire: Wire, script: Sequence[Turn], pace: Pace) -> list[Answer]:
    """Send a script and return the answers, in what can be compared."""
    said: list[tuple[str, bytes]] = []
    if pace is Pace.BY_TURNS:
        for turn in script:
            wire.exchange(turn.data)
            said += wire.until(turn.until)
        wire.exchange(_CLOSING)
    else:
        data = b"".join(turn.data for turn in script) + _CLOSING
        step = 1 if pace is Pace.BY_BYTES else len(data)
        for at in range(0, len(data), step):
            wire.exchange(data[at : at + step])
    return answers(said + _up_to_the_end(wire))


def _up_to_the_end(wire: Wire) -> list[tuple[str, bytes]]:
    said: list[tuple[str, bytes]] = []
    while (message := wire.read()) is not None:
        said.append(message)
        if message == ("D", b"\0\1" + len(END).to_bytes(4) + END):
            return said + wire.until("Z")
    return [*said, ("closed", b"")]


def answers(said: Iterable[tuple[str, bytes]]) -> list[Answer]:
    """Return what can be compared of messages."""
    return [(kind, _essence(kind, body)) for kind, body in said if kind not in "SA"]


def _essence(kind: str, body: bytes) -> object:
    if kind in "EN":
        fields = messages.read_error_fields(body)
        return fields.get("V"), fields.get("C")
    if kind == "T":
        return _columns(body)
    return body


def _columns(body: bytes) -> list[tuple[bytes, tuple[int, ...]]]:
    """Return name, type, modifier and format of each column, without the table's number."""
    found = []
    at = 2
    for _ in range(int.from_bytes(body[:2])):
        end = body.index(b"\0", at)
        _, _, *rest = struct.unpack_from("!IhIhih", body, end + 1)
        found.append((body[at:end], tuple(rest)))
        at = end + 19
    return found
