"""The log lines that every worker writes: the end of a client, a slow statement.

Statements are logged without their values: literals become ``?``, so that neither passwords nor
personal data get into the log, and equal statements look alike.
"""

import logging
from dataclasses import dataclass
from typing import Final

from shardrouter.sql import TokenKind, is_readable, tokens

logger = logging.getLogger(__name__)

MOST_CHARACTERS: Final = 1000  # of a statement in the log
_MOST_BYTES_READ: Final = 8 * MOST_CHARACTERS  # a statement of megabytes is not worth a pause
_VALUES: Final = frozenset({TokenKind.STRING, TokenKind.BITS, TokenKind.NUMBER, TokenKind.BROKEN})


@dataclass(frozen=True, slots=True)
class ConnectionEnd:
    """What is told of a client that has left."""

    client: int
    user: str
    database: str
    address: str
    seconds: float
    queries: int
    bytes_in: int
    bytes_out: int
    reason: str
    """In words."""


def log_connection_end(end: ConnectionEnd) -> None:
    """Write one line for a client that has left."""
    logger.info(
        "client_left client=%d user=%s database=%s address=%s seconds=%.3f queries=%d bytes_in=%d"
        " bytes_out=%d reason=%s",
        end.client,
        end.user,
        end.database,
        end.address,
        end.seconds,
        end.queries,
        end.bytes_in,
        end.bytes_out,
        end.reason,
    )


def log_slow_query(
    text: bytes,
    *,
    seconds: float,
    client: int,
    user: str,
    database: str,
    shard: str,
    node: str,
    standard_strings: bool = True,
    ascii_safe_encoding: bool = True,
) -> None:
    """Write one line for a statement that took longer than ``proxy.slow_query_ms``.

    The last two say how the session reads the text, as for ``sql.tokens``.
    """
    logger.warning(
        "slow_query ms=%d client=%d user=%s database=%s shard=%s node=%s query=%s",
        int(seconds * 1000),
        client,
        user,
        database,
        shard,
        node,
        without_values(
            text, standard_strings=standard_strings, ascii_safe_encoding=ascii_safe_encoding
        ),
    )


def without_values(
    text: bytes, *, standard_strings: bool = True, ascii_safe_encoding: bool = True
) -> str:
    """Return a statement with ``?`` for its literals, without comments, shortened.

    A text whose quotes cannot be told for certain is not shown at all.
    """
    text = text.partition(b"\0")[0]  # what comes behind is no statement, but the rest of a Parse
    head = text[:_MOST_BYTES_READ]
    if not is_readable(head, ascii_safe_encoding=ascii_safe_encoding):
        return f"({len(text)} bytes in the client's encoding)"
    words: list[str] = []
    end = 0
    for token in tokens(head, standard_strings=standard_strings):
        if token.kind is TokenKind.COMMENT:
            continue
        if token.start > end and words:
            words.append(" ")
        end = token.end
        is_value = token.kind in _VALUES
        words.append("?" if is_value else head[token.start : end].decode("utf-8", "replace"))
    shown = "".join(words)
    if len(shown) > MOST_CHARACTERS or len(text) > len(head):
        return shown[: MOST_CHARACTERS - 3] + "..."
    return shown
