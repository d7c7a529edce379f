"""What names and string literals of SQL stand for. Pure; None for what is not read here."""

import re
from typing import Final

from shardrouter.sql.lexer import CONTINUATION

LONGEST_NAME_BYTES: Final = 63  # NAMEDATALEN - 1: Postgres cuts longer names off

_ESCAPE: Final = re.compile(
    rb"\\(?:([0-7]{1,3})|x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))|('')",
    re.DOTALL,
)
_LETTERS: Final = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def folded(word: bytes) -> bytes:
    """Return the name an unquoted identifier stands for."""
    return cut(word.lower())


def unquoted(name: bytes) -> bytes:
    """Return the name a quoted identifier stands for."""
    return cut(name[1:-1].replace(b'""', b'"'))


def cut(name: bytes) -> bytes:
    """Return a name as far as Postgres keeps it, never half a character of UTF-8."""
    if len(name) <= LONGEST_NAME_BYTES:
        return name
    return name[:LONGEST_NAME_BYTES].decode("utf-8", "ignore").encode()


def string_value(literal: bytes, *, standard_strings: bool = True) -> str | None:
    """Return the text of a string literal; None for U&'...' and what is not UTF-8."""
    try:
        if literal.startswith(b"$"):
            tag = literal.index(b"$", 1) + 1
            return literal[tag:-tag].decode()
        if literal[:1] in b"eE":
            return _unescaped(_joined(literal[2:-1], escapes=True))
        if literal[:1] == b"'" and standard_strings:
            return _joined(literal[1:-1], escapes=False).replace(b"''", b"'").decode()
        if literal[:1] == b"'":
            return _unescaped(_joined(literal[1:-1], escapes=True))
    except ValueError:  # not UTF-8, or a character that is none
        return None
    return None


def _joined(inside: bytes, *, escapes: bool) -> bytes:
    """Return the parts of a literal that goes on on further lines as one."""
    parts: list[bytes] = []
    start = at = 0
    while (quote := inside.find(b"'", at)) >= 0:
        if escapes and _is_escaped(inside, at, quote):
            at = quote + 1
            continue
        if inside[quote + 1 : quote + 2] == b"'":
            at = quote + 2
            continue
        goes_on = CONTINUATION.match(inside, quote + 1)
        if goes_on is None:
            raise ValueError("not one literal")
        parts.append(inside[start:quote])
        start = at = goes_on.end()
    parts.append(inside[start:])
    return b"".join(parts)


def _is_escaped(inside: bytes, at: int, quote: int) -> bool:
    """True when a backslash that is not escaped itself stands before the quote."""
    before = inside[at:quote]
    return (len(before) - len(before.rstrip(b"\\"))) % 2 == 1


def _unescaped(inside: bytes) -> str:
    return _ESCAPE.sub(_unescape, inside).decode()


def _unescape(match: re.Match[bytes]) -> bytes:
    octal, hexadecimal, short, long, other, quotes = match.groups()
    if quotes:
        return b"'"
    if octal:
        return bytes([int(octal, 8) & 0xFF])
    if hexadecimal:
        return bytes([int(hexadecimal, 16)])
    if short or long:
        return chr(int(short or long, 16)).encode()
    return _LETTERS.get(other, other)
