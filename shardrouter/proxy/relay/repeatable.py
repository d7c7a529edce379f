"""Tell whether what a client sent last can be sent again, in the place of an error. Pure.

It can when it is whole in the client's last chunk, is one simple query or one batch up to its Sync,
each statement of it undoes itself when it fails, and nothing but its answers would be taken back.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final

from shardrouter.sql.plain import is_plain

_HEADER: Final = 5
_HEADS: Final = frozenset(b"insert update delete merge select with".split())
_BATCH: Final = re.compile(r"(?:[PBDEH]*E[PBDEH]*)S")
_ANSWERS: Final = {
    "P": re.compile("1"),
    "B": re.compile("2"),
    "D": re.compile("t?[Tn]"),
    "E": re.compile("D*[CIs]"),
}
_REFUSED: Final = re.compile("T?D*EZ?")

Prepared = Callable[[bytes], bytes | None]
"""The text of a statement of the client by its name, the unnamed one's by none; None: unknown."""


def may_repeat(sent: bytes, said: bytes, prepared: Prepared) -> bool:
    """True when ``sent`` may be sent again instead of passing on ``said``, which has an error."""
    parts, answers = _parts(sent), _parts(said)
    if parts is None or answers is None:
        return False
    asked = "".join(kind for kind, _ in parts)
    told = "".join(kind for kind, _ in answers).replace("N", "")
    if asked == "Q":
        return _REFUSED.fullmatch(told) is not None and _undoes_itself(parts[0][1][:-1])
    if _BATCH.fullmatch(asked) is None or not _fits(asked, told):
        return False
    texts = list(_texts(parts, prepared))
    return all(text is not None and _undoes_itself(text) for text in texts)


def _fits(asked: str, told: str) -> bool:
    """True when this is all that a server says to the batch: it began with this chunk."""
    at = 0
    for kind in asked:
        if kind in "HS":
            continue
        answer = _ANSWERS[kind].match(told, at)
        if answer is None:
            break
        at = answer.end()
    return _REFUSED.fullmatch(told, at) is not None


def _texts(parts: list[tuple[str, bytes]], prepared: Prepared) -> Iterator[bytes | None]:
    """Yield the text of each statement the batch runs; None: it is not known."""
    has_parsed = False
    for kind, body in parts:
        if kind == "P":
            name, _, rest = body.partition(b"\0")
            # One with a name may have been answered by the proxy itself.
            yield None if name else rest.partition(b"\0")[0]
            has_parsed = True
        elif kind == "B":
            name = body.partition(b"\0")[2].partition(b"\0")[0]
            if name or not has_parsed:
                yield prepared(name)


def _undoes_itself(text: bytes) -> bool:
    """True for one statement that leaves nothing when it fails, and cannot commit by itself."""
    words = text.split(None, 1)
    return bool(words) and words[0].lower() in _HEADS and is_plain(text)


def _parts(data: bytes) -> list[tuple[str, bytes]] | None:
    """Return type and body of each message; None: they are not whole."""
    parts: list[tuple[str, bytes]] = []
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at + 1 : at + _HEADER])
        end = at + 1 + length
        if end > len(data) or length < _HEADER - 1:
            return None
        parts.append((chr(data[at]), data[at + _HEADER : end]))
        at = end
    return parts
