"""Take apart what was said in the Postgres protocol."""

from typing import NamedTuple


class Message(NamedTuple):
    """One message with its type letter."""

    kind: str
    body: bytes


def read_all(said: bytes) -> list[Message]:
    """Return the messages; nothing may be left over."""
    found = []
    while said:
        end = 1 + int.from_bytes(said[1:5], "big")
        assert 5 <= end <= len(said)
        found.append(Message(chr(said[0]), said[5:end]))
        said = said[end:]
    return found


def kinds(said: bytes) -> str:
    """Return the type letters of the messages, as ``TDCZ``."""
    return "".join(message.kind for message in read_all(said))
