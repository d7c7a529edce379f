"""Read a client's first packet: which protocol it speaks, who it is, which settings it wants.

Pure. Errors carry the SQLSTATE and the words of Postgres. Values keep bytes that are not UTF-8
(surrogateescape): the client's encoding is not known before its settings are.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from shardrouter.errors import ClientProtocolError, LoginRefused
from shardrouter.wire.messages import (
    CANCEL_REQUEST_CODE,
    PROTOCOL_3_2,
    negotiate,
)

MOST_STARTUP_BYTES: Final = 10_000  # as MAX_STARTUP_PACKET_LENGTH of Postgres
ALPN: Final = "postgresql"  # what TLS calls our protocol
LONGEST_NAME_BYTES: Final = 63  # longer names of users and databases are cut, as Postgres does
SHORTEST_KEY: Final = 4
LONGEST_KEY: Final = 256

_HEAD: Final = struct.Struct("!I")
_BLANKS: Final = " \t\n\r\f\v"
_NOT_SETTINGS: Final = frozenset({"user", "database", "options", "replication"})


@dataclass(frozen=True, slots=True)
class StartupMessage:
    """A client's wish for a session."""

    version: int
    """The protocol spoken from here on: what the client asked for, or the newest we know."""
    user: str
    database: str
    parameters: Mapping[str, str]
    """Every pair as it was sent, without ``_pq_.`` options."""
    settings: Mapping[str, str]
    """Settings of the session, those of ``options`` first, as Postgres applies them."""
    replication: str | None
    negotiation: bytes | None
    """NegotiateProtocolVersion to be sent first, where we cannot do all that was asked."""


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """A wish to cancel what another connection runs."""

    pid: int
    key: bytes

    def __repr__(self) -> str:
        return f"CancelRequest(pid={self.pid})"


def read_first_packet(body: bytes) -> StartupMessage | CancelRequest:
    """Return what the packet says; ``body`` is all of it but its length.

    Raises LoginRefused 0A000 for other protocols, 28000 without a user and 42601 for ``options``
    that cannot be read, ClientProtocolError for what is no such packet.
    """
    (version,) = _HEAD.unpack_from(body)
    if version == CANCEL_REQUEST_CODE:
        return _read_cancel(body)
    if version >> 16 != 3:
        raise LoginRefused(
            f"unsupported frontend protocol {version >> 16}.{version & 0xFFFF}:"
            " server supports 3.0 to 3.2",
            sqlstate="0A000",
        )
    return _read_startup(version, body)


def _read_cancel(body: bytes) -> CancelRequest:
    key = body[8:]
    if not SHORTEST_KEY <= len(key) <= LONGEST_KEY:
        raise ClientProtocolError("invalid length of query cancel packet")
    return CancelRequest(_HEAD.unpack_from(body, 4)[0], key)


def _read_startup(version: int, body: bytes) -> StartupMessage:
    parameters: dict[str, str] = {}
    unknown_options: list[bytes] = []
    for name, value in _pairs(body):
        if name.startswith(b"_pq_."):
            unknown_options.append(name)
        else:
            text = _cut(value) if name in (b"user", b"database") else value
            parameters[_text(name)] = _text(text)
    user = parameters.get("user")
    if not user:
        raise LoginRefused("no PostgreSQL user name specified in startup packet")
    spoken = min(version, PROTOCOL_3_2)
    return StartupMessage(
        version=spoken,
        user=user,
        database=parameters.get("database") or user,
        parameters=parameters,
        settings=_settings(parameters),
        replication=parameters.get("replication"),
        negotiation=(
            negotiate(spoken, unknown_options) if spoken != version or unknown_options else None
        ),
    )


def _pairs(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield names and values; after the last value stands one empty name, and nothing after it."""
    strings = body[4:].split(b"\0")
    # "a\0b\0\0" splits into a, b and two empty strings.
    if len(strings) < 2 or strings[-1] or strings[-2] or len(strings) % 2:
        raise ClientProtocolError("invalid startup packet layout: expected terminator as last byte")
    for at in range(0, len(strings) - 2, 2):
        if not strings[at]:
            raise ClientProtocolError(
                "invalid startup packet layout: expected terminator as last byte"
            )
        yield strings[at], strings[at + 1]


def _settings(parameters: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    if "options" in parameters:
        found.update(read_options(parameters["options"]))
    found.update((name, parameters[name]) for name in parameters if name not in _NOT_SETTINGS)
    return found


def read_options(options: str) -> Iterator[tuple[str, str]]:
    """Yield the settings of a startup packet's ``options``: ``-c a=b``, ``-ca=b``, ``--a-b=c``.

    Raises LoginRefused 42601 for anything else: the server's other switches are not for clients.
    """
    words = iter(split_options(options))
    for word in words:
        if word == "-c":
            text = next(words, None)
            if text is None:
                raise LoginRefused("option requires an argument -- 'c'", sqlstate="42601")
        elif word.startswith("-c") or (word.startswith("--") and word != "--"):
            text = word[2:]
        else:
            raise LoginRefused(
                f"invalid command-line argument for server process: {word[:100]}",
                sqlstate="42601",
                hint="write settings as -c name=value",
            )
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise LoginRefused(f"{word[:2]} {name[:100]} requires a value", sqlstate="42601")
        yield name.replace("-", "_"), value


def split_options(options: str) -> list[str]:
    """Return the words of ``options``: blanks part them, a backslash keeps what follows it."""
    words: list[str] = []
    word: list[str] | None = None
    characters = iter(options)
    for character in characters:
        if character in _BLANKS:
            if word is not None:
                words.append("".join(word))
            word = None
            continue
        if character == "\\":
            character = next(characters, "")
        word = [] if word is None else word
        word.append(character)
    if word is not None:
        words.append("".join(word))
    return words


def _cut(name: bytes) -> bytes:
    return name[:LONGEST_NAME_BYTES]


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
