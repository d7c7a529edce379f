"""A client on a bare blocking socket: it costs next to nothing, so that it limits no proxy.

It checks what it must and knows only the messages that the benchmarks need.
"""

import os
import socket
import struct
from base64 import b64encode
from collections.abc import Iterator
from typing import Final

from benchmarks.measure import check
from benchmarks.proxy.doors import HOST, Door
from benchmarks.proxy.scram_keys import MECHANISM, ScramKeys, ScramTalk

TIMEOUT_SECONDS: Final = 60.0
_HEADER: Final = struct.Struct("!cI")
_PROTOCOL_3_0: Final = 196608
_LARGE: Final = 1 << 20
_NONCE_BYTES: Final = 18
READY: Final = b"Z\0\0\0\5I"
"""ReadyForQuery outside of a transaction."""

_OK, _SASL, _SASL_CONTINUE, _SASL_FINAL = 0, 10, 11, 12


class RawClient:
    """A connection that is logged in."""

    def __init__(self, door: Door, user: str, keys: ScramKeys | None = None) -> None:
        self.socket = socket.create_connection((HOST, door.port), TIMEOUT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        try:
            self._log_in(user, door.database, keys)
        except BaseException:
            self.socket.close()
            raise

    def close(self) -> None:
        """Say goodbye and leave."""
        self.socket.sendall(message(b"X"))
        self.socket.close()

    def drop(self) -> None:
        """Leave without a word."""
        self.socket.close()

    def ask(self, query: str) -> list[bytes]:
        """Run a statement whose result is small and return the bodies of its rows."""
        self.send_query(query)
        rows = []
        for kind, body in self.messages():
            if kind == b"D":
                rows.append(body)
            elif kind == b"Z":
                return rows
        raise AssertionError("unreachable: messages end by an error")

    def send_query(self, query: str) -> None:
        """Send a statement of the simple protocol."""
        self.socket.sendall(message(b"Q", query.encode() + b"\0"))

    def messages(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield messages as they come. An error of the server is a WrongAnswer."""
        while True:
            while len(self._received) < _HEADER.size:
                self._receive()
            kind, length = _HEADER.unpack_from(self._received)
            while len(self._received) < length + 1:
                self._receive()
            body = self._received[_HEADER.size : length + 1]
            self._received = self._received[length + 1 :]
            check(kind != b"E", f"the server refused: {body!r}")
            yield kind, body

    def expect(self, wanted: bytes) -> bytes:
        """Return the body of the next message, which must be of that type."""
        kind, body = next(self.messages())
        check(kind == wanted, f"{kind!r} came instead of {wanted!r}")
        return body

    def raw_chunks(self) -> Iterator[memoryview]:
        """Yield what comes in large pieces, in a buffer that is used again."""
        if self._received:
            yield memoryview(self._received)
            self._received = b""
        buffer = memoryview(bytearray(_LARGE))
        while True:
            count = self.socket.recv_into(buffer)
            check(count > 0, "the connection ended within a result")
            yield buffer[:count]

    def _receive(self) -> None:
        data = self.socket.recv(65536)
        check(bool(data), "the connection ended")
        self._received += data

    def _log_in(self, user: str, database: str, keys: ScramKeys | None) -> None:
        names = (b"user", user.encode(), b"database", database.encode(), b"")
        body = struct.pack("!I", _PROTOCOL_3_0) + b"\0".join(names) + b"\0"
        self.socket.sendall(struct.pack("!I", len(body) + 4) + body)
        if keys is not None:
            self._prove(ScramTalk(keys, b64encode(os.urandom(_NONCE_BYTES))))
        self._authentication(_OK)
        for kind, _ in self.messages():
            if kind == b"Z":
                return

    def _prove(self, talk: ScramTalk) -> None:
        mechanisms = self._authentication(_SASL).split(b"\0")
        check(MECHANISM in mechanisms, f"the proxy offers only {mechanisms}")
        first = talk.first()
        head = MECHANISM + b"\0" + struct.pack("!I", len(first))
        self.socket.sendall(message(b"p", head + first))
        self.socket.sendall(message(b"p", talk.proof(self._authentication(_SASL_CONTINUE))))
        talk.check_server(self._authentication(_SASL_FINAL))

    def _authentication(self, wanted: int) -> bytes:
        """Return what follows the code of the next message of the login."""
        body = self.expect(b"R")
        code = int.from_bytes(body[:4], "big")
        check(code == wanted, f"the login asks for {code} instead of {wanted}")
        return body[4:]


def message(kind: bytes, body: bytes = b"") -> bytes:
    """Return a message with its header."""
    return _HEADER.pack(kind, len(body) + 4) + body
