# cython: annotation_typing=False, boundscheck=False, wraparound=False
"""Cut what a client says into messages, without waiting for the end of the long ones.

Thinking only. ``feed`` takes bytes, ``next`` returns the type of the next message, or NONE when
more bytes are needed. Of a long message the beginning is returned first (``is_partial``) and the
rest as it comes (CONTINUED), so that no message is ever held whole beyond ``HELD_BYTES``.
"""

from shardrouter.wire.codes import Kind

_NONE = int(Kind.NONE)
_CONTINUED = int(Kind.CONTINUED)
_BROKEN = int(Kind.BROKEN)
_HEADER = 5
_HELD_BYTES = 65536  # a message up to this size is held until it is whole
_PREFIX_BYTES = 32768  # so much of a longer one is held before its beginning is returned


class ClientStream:
    """One client's side of the talk. ``start`` and ``end`` are the span of the current message."""

    def __init__(self, most_bytes: int) -> None:
        self.data = b""
        self.start = 0
        self.end = 0
        self.left = 0
        self.is_partial = False
        self.most_bytes = most_bytes

    def feed(self, data: bytes) -> None:
        """Take a chunk, behind what was not taken yet."""
        if self.end < len(self.data):
            data = self.data[self.end :] + data
        self.data = data
        self.start = 0
        self.end = 0

    def next(self) -> int:
        """Step to the next message; return its type, or a ``Kind``."""
        data = self.data
        at = self.end
        size = len(data)
        if self.left:
            return self._continue(at, size)
        if size - at < _HEADER:
            return _NONE
        length = (data[at + 1] << 24) | (data[at + 2] << 16) | (data[at + 3] << 8) | data[at + 4]
        if length < 4 or length > self.most_bytes:
            return _BROKEN
        end = at + 1 + length
        kind = data[at]
        if end > size:
            if kind != 100 and (length <= _HELD_BYTES or size - at < _PREFIX_BYTES):  # d
                return _NONE
            self.left = end - size
            self.is_partial = True
            end = size
        else:
            self.is_partial = False
        self.start = at
        self.end = end
        return kind

    def back(self) -> None:
        """Put the current message back: ``next`` will return it again."""
        if self.is_partial:
            self.left = 0
            self.is_partial = False
        self.end = self.start

    def rest(self) -> int:
        """Return how many bytes have come and were not taken."""
        return len(self.data) - self.end

    def _continue(self, at: int, size: int) -> int:
        if at == size:
            return _NONE
        self.start = at
        self.end = at + self.left if self.left <= size - at else size
        self.left -= self.end - at
        self.is_partial = False
        return _CONTINUED
