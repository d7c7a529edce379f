"""Read what BEGIN and START TRANSACTION say of the transaction. Pure."""

from typing import Any

from shardrouter.sql.effects import Begin, Effect
from shardrouter.sql.token_reader import TokenReader


def read_begin(reader: TokenReader) -> Begin:
    """Read the modes behind BEGIN or START TRANSACTION; the last of a kind holds."""
    reader.at += 1
    reader.take_any(b"work", b"transaction")
    modes: dict[str, Any] = {}
    while not reader.has_ended():
        if reader.take(b"read", b"only"):
            modes["read_only"] = True
        elif reader.take(b"read", b"write"):
            modes["read_only"] = False
        elif reader.take(b"isolation", b"level"):
            modes["isolation"] = _level(reader)
        elif reader.take(b"not", b"deferrable"):
            modes["deferrable"] = False
        elif reader.take(b"deferrable"):
            modes["deferrable"] = True
        else:
            reader.at += 1  # a comma, or what Postgres refuses
    flags = Effect.BEGIN
    if modes.get("read_only"):
        flags |= Effect.READ_ONLY_BEGIN
    return Begin(start=reader.start, end=reader.end, flags=flags, **modes)


def _level(reader: TokenReader) -> str:
    if reader.take(b"serializable"):
        return "serializable"
    first, second = reader.word(), reader.word(1)
    reader.at += 2
    return f"{first.decode()} {second.decode()}"
