"""Cut a SQL text into the tokens PostgreSQL's own scanner would see.

Bytes in, spans out: comments and what is between quotes must not be taken for words, and words
must not be missed because a quote was. Follows src/backend/parser/scan.l of PostgreSQL 15 to 18.
What Postgres refuses may be cut differently here: nothing of such a text is run.

Bytes from 0x80 up are letters, as for Postgres. It reads a text after converting it to the
server's encoding, so this holds for client encodings in which each ASCII byte is an ASCII
character. SJIS, BIG5, GBK, UHC, GB18030, JOHAB and SHIFT_JIS_2004 are not such: the second byte of
a character may be a backslash there. ``is_readable`` says what can be read all the same.

Linear in the length of the text, without recursion: under a microsecond a token, but 10 MB of
signs are 10 million tokens. Callers bound the length (session_effects.LONGEST_READ_BYTES).
"""

import re
from enum import Enum, auto
from typing import Final, NamedTuple


class TokenKind(Enum):
    """What a token is."""

    WORD = auto()
    """An identifier or key word, unquoted."""

    QUOTED = auto()
    """"...": an identifier as it is written."""

    UNICODE = auto()
    """U&"...": an identifier with escapes."""

    STRING = auto()
    """'...', E'...', U&'...' or $tag$...$tag$, with its continuations on further lines."""

    BITS = auto()
    """B'...' or X'...'."""

    NUMBER = auto()
    PARAMETER = auto()
    COMMENT = auto()
    OPERATOR = auto()
    PUNCTUATION = auto()
    """One of ( ) [ ] , . : or a character that has no meaning."""

    SEMICOLON = auto()
    BROKEN = auto()
    """A quote or comment that is not closed, up to the end of the text."""


class Token(NamedTuple):
    """A token's kind and where it is."""

    kind: TokenKind
    start: int
    end: int


_NEXT: Final = re.compile(
    rb"""[ \t\n\r\f\v]*+(?:
      ([eE]'|[bBxX]'|[uU]&['"]|['"])                    # 1 something in quotes begins
    | ([A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*+)      # 2 word
    | (0[xXoObB][0-9A-Fa-f_]++                          # 3 number
      |(?:[0-9][0-9_]*+(?:\.(?!\.)[0-9_]*+)?|\.[0-9][0-9_]*+)(?:[eE][+-]?[0-9][0-9_]*+)?)
    | (\.\.|[(),\[\].:])                                # 4 punctuation
    | (;)                                               # 5
    | (\$[0-9]++)                                       # 6 parameter
    | (\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*+)?\$)  # 7 a dollar-quoted string begins
    | (--[^\n\r]*+)                                     # 8 comment
    | (/\*)                                             # 9 a comment begins
    | ((?:(?!--|/\*)[~!@\#^&|`?+\-*/%<>=])++)           # 10 operator
    | (.)                                               # 11 anything else
    )""",
    re.VERBOSE | re.DOTALL,
)

_KINDS: Final = {
    2: TokenKind.WORD,
    3: TokenKind.NUMBER,
    4: TokenKind.PUNCTUATION,
    5: TokenKind.SEMICOLON,
    6: TokenKind.PARAMETER,
    8: TokenKind.COMMENT,
    10: TokenKind.OPERATOR,
    11: TokenKind.PUNCTUATION,
}

_PLAIN_REST: Final = re.compile(rb"[^']*+(?:''[^']*+)*+'")
_ESCAPED_REST: Final = re.compile(rb"[^'\\]*+(?:(?:\\.|'')[^'\\]*+)*+'", re.DOTALL)
_BITS_REST: Final = re.compile(rb"[^']*+'")
_NAME_REST: Final = re.compile(rb'[^"]*+(?:""[^"]*+)*+"')

CONTINUATION: Final = re.compile(
    rb"[ \t\f\v]*+(?:--[^\n\r]*+)?[\n\r](?:[ \t\n\r\f\v]++|--[^\n\r]*+[\n\r])*+'"
)
"""Between the parts of a string that goes on on another line; the same rules hold in all parts."""

_KEEPS_SIGN: Final = re.compile(rb"[~!@#^&|`?%]")

_COMMENT_EDGE: Final = re.compile(rb"/\*|\*/")


def is_readable(text: bytes, *, ascii_safe_encoding: bool) -> bool:
    """True when ``tokens`` sees the text as the server does, whatever its characters are."""
    return ascii_safe_encoding or text.isascii()


def tokens(text: bytes, *, standard_strings: bool = True) -> list[Token]:
    """Return the tokens of a text in order, comments included; only blanks are between them.

    ``standard_strings`` is the setting standard_conforming_strings. A token of kind BROKEN is the
    last one.
    """
    found: list[Token] = []
    add = found.append
    next_token = _NEXT.match
    at = 0
    while match := next_token(text, at):
        group = match.lastindex
        assert group is not None
        start, at = match.span(group)
        kind = _KINDS.get(group)
        if kind is TokenKind.OPERATOR:
            at = start + len(_operator(match[group]))
        elif kind is None:
            kind, end = _quoted(text, start, at, match[group], standard_strings)
            if end < 0:
                add(Token(TokenKind.BROKEN, start, len(text)))
                break
            at = end
        add(Token(kind, start, at))
    return found


def _operator(run: bytes) -> bytes:
    """Return the operator at the start of a run of signs: =- is = and - unlike @-."""
    if run[-1:] in b"+-" and not _KEEPS_SIGN.search(run):
        return run.rstrip(b"+-") or run[:1]
    return run


def _quoted(
    text: bytes, start: int, at: int, opening: bytes, standard_strings: bool
) -> tuple[TokenKind, int]:
    """Return the kind and end of what begins with a quote, -1 for an end that is missing."""
    match opening.lower():
        case b"/*":
            return TokenKind.COMMENT, _end_of_comment(text, at)
        case b'"' | b'u&"' as quote:
            closed = _NAME_REST.match(text, at)
            kind = TokenKind.QUOTED if quote == b'"' else TokenKind.UNICODE
            return kind, closed.end() if closed else -1
        case b"'" | b"u&'" if standard_strings:
            return TokenKind.STRING, _end_of_string(text, at, _PLAIN_REST)
        case b"'" | b"u&'" | b"e'":
            return TokenKind.STRING, _end_of_string(text, at, _ESCAPED_REST)
        case b"b'" | b"x'":
            return TokenKind.BITS, _end_of_string(text, at, _BITS_REST)
        case _:
            end = text.find(opening, at)
            return TokenKind.STRING, end + len(opening) if end >= 0 else -1


def _end_of_string(text: bytes, at: int, rest: re.Pattern[bytes]) -> int:
    while closed := rest.match(text, at):
        goes_on = CONTINUATION.match(text, closed.end())
        if goes_on is None:
            return closed.end()
        at = goes_on.end()
    return -1


def _end_of_comment(text: bytes, at: int) -> int:
    """Return the end of a comment; comments nest."""
    depth = 1
    for edge in _COMMENT_EDGE.finditer(text, at):
        depth += 1 if edge[0] == b"/*" else -1
        if depth == 0:
            return edge.end()
    return -1
