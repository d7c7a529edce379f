"""Read the file of users and verifiers: ``"user" "SCRAM-SHA-256$..." ["client-key:BASE64"]``.

Pure. The form is PgBouncer's, with verifiers only: plain passwords and MD5 are refused. The client
key, where there is one, lets users that came in by certificate or trust log in at the nodes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from shardrouter.errors import SettingsError
from shardrouter.wire import ScramKeys, ScramVerifier, decoded, keys_of, read_verifier

_CLIENT_KEY: Final = "client-key:"


@dataclass(frozen=True, slots=True)
class UserEntry:
    """One user of the file."""

    verifier: ScramVerifier = field(repr=False)
    keys: ScramKeys | None = field(default=None, repr=False)


def read_users(lines: Iterable[str], file: str) -> dict[str, UserEntry]:
    """Return the users. SettingsError names file and line, and never quotes a secret."""
    users: dict[str, UserEntry] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith((";", "#")):
            continue
        try:
            name, entry = _read_line(text)
            if name in users:
                raise ValueError("the user is listed twice")
        except ValueError as error:
            raise SettingsError(
                f"{file}, line {number}: {error}",
                hint='write "user" "SCRAM-SHA-256$4096:...", as pg_authid.rolpassword shows it',
            ) from None
        users[name] = entry
    return users


def _read_line(text: str) -> tuple[str, UserEntry]:
    words = list(_quoted_words(text))
    if not 2 <= len(words) <= 3:
        raise ValueError("a line has a user, a verifier and perhaps a client key")
    name, verifier = words[0], read_verifier(words[1])
    if len(words) == 2:
        return name, UserEntry(verifier)
    if not words[2].startswith(_CLIENT_KEY):
        raise ValueError("the third word does not start with client-key:")
    try:
        client_key = decoded(words[2].removeprefix(_CLIENT_KEY))
    except ValueError:
        raise ValueError("the client key is not base64") from None
    return name, UserEntry(verifier, keys_of(verifier, client_key))


def _quoted_words(text: str) -> Iterator[str]:
    """Yield the words of a line; two quotes inside a word stand for one."""
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        if text[at] != '"':
            raise ValueError("words stand in double quotes")
        word: list[str] = []
        at += 1
        while True:
            end = text.find('"', at)
            if end < 0:
                raise ValueError("a quote is not closed")
            word.append(text[at:end])
            at = end + 1
            if text[at : at + 1] != '"':
                break
            word.append('"')
            at += 1
        yield "".join(word)
