"""A prepared statement by its text and types: shared by all clients and backends of a worker."""

from collections import OrderedDict
from typing import Final

from shardrouter.sql import Effects

PREFIX: Final = b"_sr"  # of names on backends; a client's own names never reach one
UNKNOWN: Final = object()
"""A backend's unnamed statement while nobody can tell what it is: never the client's."""

SQL_MARK: Final = b"\0SQL"  # of what SQL's PREPARE made; no text of a Parse begins with NUL
_FIXED: Final = 5  # type byte and length


class Definition:
    """What a Parse message says behind its name.

    ``body`` is ``text NUL count types``; None where it was too long to be kept: such a statement
    cannot be prepared again and pins its client. Compared by identity.

    ``named_parse`` first closes the name: where that is not certain to be free, it is then. Empty
    where no Parse makes this statement.
    """

    __slots__ = ("body", "effects", "is_plain", "name", "named_parse", "unnamed_parse")

    def __init__(self, number: int, body: bytes | None, effects: Effects, is_plain: bool) -> None:
        self.body = body
        self.effects = effects
        self.is_plain = is_plain
        self.name = PREFIX + b"%d" % number
        is_parsed = body is not None and not body.startswith(SQL_MARK)
        self.named_parse = b""
        if body is not None and is_parsed:
            self.named_parse = close_message(self.name) + parse_message(self.name, body)
        self.unnamed_parse = b"" if body is None else parse_message(b"", body)


def parse_message(name: bytes, body: bytes) -> bytes:
    """Return a Parse message of a name and what follows it."""
    return b"P%b%b\0%b" % ((len(name) + len(body) + _FIXED).to_bytes(4), name, body)


def close_message(name: bytes) -> bytes:
    """Return a Close message of a statement."""
    return b"C%bS%b\0" % ((len(name) + 1 + _FIXED).to_bytes(4), name)


class Definitions:
    """The statements a worker knows, bounded by their number and by their bytes.

    One that is forgotten goes on living where a client or backend holds it; its text makes a new
    one when it comes again.
    """

    def __init__(self, most: int = 20_000, most_bytes: int = 64 * 1024 * 1024) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self._known: OrderedDict[bytes, Definition] = OrderedDict()
        self._numbers = 0

    def get(self, body: bytes) -> Definition | None:
        """Return the statement of that text and types, if it is known."""
        return self._known.get(body)

    def add(self, body: bytes, effects: Effects, is_plain: bool) -> Definition:
        """Make a statement known."""
        definition = Definition(self.next_number(), body, effects, is_plain)
        self._known[body] = definition
        self._bytes += len(body)
        while len(self._known) > self._most or self._bytes > self._most_bytes:
            forgotten, _ = self._known.popitem(last=False)
            self._bytes -= len(forgotten)
        return definition

    def forget(self, body: bytes) -> None:
        """Have the text make a new statement when it comes again: tables under it changed."""
        if self._known.pop(body, None) is not None:
            self._bytes -= len(body)

    def next_number(self) -> int:
        """Return a number that no statement of this worker had."""
        self._numbers += 1
        return self._numbers
