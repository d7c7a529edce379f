"""The words that talks with Postgres are made of: turns, and messages that come often."""

from typing import Final

from shardrouter.wire.messages import bind, execute, flush, parse, query, sync, typed
from tests.support.wire_script import Turn

INT4: Final = 23
SYNC: Final = sync()
FLUSH: Final = flush()
COPY_DONE: Final = typed(b"c")
COPY_FAIL: Final = typed(b"f", b"no more\0")
BAD: Final = parse("", "SELEC 1")
ALL: Final = parse("", "SELECT a, b FROM t ORDER BY a")
COPY_IN: Final = "COPY t FROM STDIN"


def q(text: str) -> Turn:
    """A simple query and the wait for its end."""
    return Turn(query(text))


def x(*parts: bytes) -> Turn:
    """Messages and a Sync."""
    return Turn(b"".join(parts) + SYNC)


def f(until: str, *parts: bytes) -> Turn:
    """Messages and a Flush, after which these kinds of messages come."""
    return Turn(b"".join(parts) + FLUSH, until)


def now(*parts: bytes) -> Turn:
    """Messages that are not waited for."""
    return Turn(b"".join(parts), "")


def data(text: str) -> bytes:
    """CopyData."""
    return typed(b"d", text.encode())


def run(name: str = "", *values: bytes | None, rows: int = 0, portal: str = "") -> bytes:
    """Bind and Execute."""
    return bind(portal, name, values) + execute(portal, rows)
