"""Read the fields of a client's message one after the other. Pure."""

import struct

from shardrouter.errors import ClientProtocolError


class Fields:
    """A message body that is read from the front. Raises ClientProtocolError past its end."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def text(self) -> str:
        """Return the next string, which a NUL closes."""
        end = self._body.find(b"\0", self._at)
        if end < 0:
            raise ClientProtocolError("a string in a message has no end")
        found = self._body[self._at : end]
        self._at = end + 1
        try:
            return found.decode()
        except UnicodeDecodeError:
            raise ClientProtocolError("a string in a message is not UTF-8") from None

    def byte(self) -> bytes:
        return self._take(1)

    def int16(self) -> int:
        return int(struct.unpack("!h", self._take(2))[0])

    def int32(self) -> int:
        return int(struct.unpack("!i", self._take(4))[0])

    def end(self) -> None:
        """Check that nothing is left."""
        if self._at != len(self._body):
            raise ClientProtocolError("a message is longer than its fields")

    def _take(self, count: int) -> bytes:
        taken = self._body[self._at : self._at + count]
        if len(taken) < count:
            raise ClientProtocolError("a message ends inside a field")
        self._at += count
        return taken
