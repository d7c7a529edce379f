"""Read PREPARE, EXECUTE, DEALLOCATE and DISCARD. Pure."""

from shardrouter.sql.effects import (
    Deallocate,
    Discard,
    DiscardKind,
    Effect,
    Execute,
    Name,
    Prepare,
    Statement,
)
from shardrouter.sql.token_reader import TokenReader

_UNREAD = Effect.STATEMENTS | Effect.MAY_PIN | Effect.MAY_UNPIN | Effect.SUSPECT
"""A form in which another name cannot be written: the backend's own names are then used."""

_DISCARDS = {
    DiscardKind.ALL: Effect.SETTINGS | Effect.STATEMENTS | Effect.MAY_UNPIN,
    DiscardKind.PLANS: Effect.NONE,
    DiscardKind.SEQUENCES: Effect.MAY_UNPIN,
    DiscardKind.TEMP: Effect.MAY_UNPIN,
}


def read_prepare(reader: TokenReader) -> Statement:
    """Read PREPARE. PREPARE TRANSACTION leaves nothing in the session."""
    reader.at += 1
    if reader.word() == b"transaction" and reader.string_at(reader.at + 1) is not None:
        return _statement(reader, Effect.NONE)
    name = reader.take_name()
    types = reader.take_brackets()
    if name is None or not reader.take(b"as") or reader.has_ended():
        return _statement(reader, _UNREAD)
    body_start, body = reader.rest()
    return Prepare(
        start=reader.start,
        end=reader.end,
        flags=Effect.STATEMENTS,
        name=name,
        types=types,
        body=body,
        body_start=body_start,
    )


def read_execute(reader: TokenReader) -> Statement:
    """Read EXECUTE, at which the reader is, in a statement that may begin with something else."""
    reader.at += 1
    name = reader.take_name()
    if name is None:
        return _statement(reader, _UNREAD)
    flags = Effect.STATEMENTS | Effect.SUSPECT
    return Execute(start=reader.start, end=reader.end, flags=flags, name=name)


def read_deallocate(reader: TokenReader) -> Statement:
    """Read DEALLOCATE [PREPARE] name or ALL; ``prepare`` alone is a name."""
    reader.at += 1
    if not reader.has_ended() and reader.at + 1 < len(reader.tokens):
        reader.take(b"prepare")
    is_all = reader.word() == b"all"
    name: Name | None = None if is_all else reader.take_name()
    if name is None and not is_all:
        return _statement(reader, _UNREAD)
    flags = Effect.STATEMENTS | Effect.MAY_UNPIN
    return Deallocate(start=reader.start, end=reader.end, flags=flags, name=name)


def read_discard(reader: TokenReader) -> Statement:
    """Read DISCARD."""
    reader.at += 1
    word = reader.word()
    try:
        what = DiscardKind(b"temp" if word == b"temporary" else word)
    except ValueError:
        return _statement(reader, Effect.NONE)  # Postgres refuses it
    return Discard(start=reader.start, end=reader.end, flags=_DISCARDS[what], what=what)


def _statement(reader: TokenReader, flags: Effect) -> Statement:
    return Statement(start=reader.start, end=reader.end, flags=flags)
