"""What SCRAM-SHA-256 proves a password by: verifiers as Postgres stores them, and keys.

Pure. A verifier lets a server check a client; the keys let a client log in. A server that has
seen one good proof knows the client key as well, so that a login at our door can be repeated at a
node that has the same verifier, and no password is stored. No repr shows a secret.
"""

import base64
import binascii
import hashlib
import hmac
import stringprep
import unicodedata
from dataclasses import dataclass, field
from typing import Final

KEY_BYTES: Final = 32
USUAL_ITERATIONS: Final = 4096  # scram_iterations of Postgres, where nobody changed it
MOST_ITERATIONS: Final = 1_000_000  # 0.3 s of one core; a hostile server may ask for any number
MOST_SALT_BYTES: Final = 1024
_PREFIX: Final = "SCRAM-SHA-256$"
_MOCK_SALT_BYTES: Final = 16  # as the salts Postgres makes


@dataclass(frozen=True, slots=True)
class ScramVerifier:
    """What a server keeps of a password."""

    iterations: int
    salt: bytes = field(repr=False)
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)
    is_mock: bool = False
    """True where there is no such user: every proof is wrong."""


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What a client logs in with at every server that has the same verifier."""

    iterations: int
    salt: bytes = field(repr=False)
    client_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)


def read_verifier(text: str) -> ScramVerifier:
    """Return the verifier of ``SCRAM-SHA-256$4096:salt$stored:server``; ValueError otherwise.

    The error never quotes the text.
    """
    head, _, keys = text.removeprefix(_PREFIX).partition("$")
    iterations, _, salt = head.partition(":")
    stored, _, server = keys.partition(":")
    if not text.startswith(_PREFIX) or not (iterations.isascii() and iterations.isdigit()):
        raise ValueError("not a SCRAM-SHA-256 verifier")
    try:
        verifier = ScramVerifier(
            int(iterations[:10]), decoded(salt), decoded(stored), decoded(server)
        )
    except ValueError:
        raise ValueError("not a SCRAM-SHA-256 verifier") from None
    if not (
        0 < verifier.iterations <= 2**31 - 1
        and verifier.salt
        and len(verifier.stored_key) == len(verifier.server_key) == KEY_BYTES
    ):
        raise ValueError("not a SCRAM-SHA-256 verifier")
    return verifier


def verifier_text(verifier: ScramVerifier) -> str:
    """Return the verifier as Postgres writes it in ``pg_authid.rolpassword``."""
    salt, stored, server = (
        base64.b64encode(part).decode()
        for part in (verifier.salt, verifier.stored_key, verifier.server_key)
    )
    return f"{_PREFIX}{verifier.iterations}:{salt}${stored}:{server}"


def derive_keys(password: str, salt: bytes, iterations: int) -> ScramKeys:
    """Return the keys of a password. Takes a millisecond for 4,096 iterations."""
    salted = hashlib.pbkdf2_hmac("sha256", prepared(password), salt, iterations)
    return ScramKeys(
        iterations,
        salt,
        hmac.digest(salted, b"Client Key", "sha256"),
        hmac.digest(salted, b"Server Key", "sha256"),
    )


def verifier_of(keys: ScramKeys) -> ScramVerifier:
    """Return the verifier that fits the keys."""
    stored_key = hashlib.sha256(keys.client_key).digest()
    return ScramVerifier(keys.iterations, keys.salt, stored_key, keys.server_key)


def keys_of(verifier: ScramVerifier, client_key: bytes) -> ScramKeys:
    """Return the keys of a verifier whose client key is known; ValueError where it is another's."""
    if not hmac.compare_digest(hashlib.sha256(client_key).digest(), verifier.stored_key):
        raise ValueError("the client key does not belong to the verifier")
    return ScramKeys(verifier.iterations, verifier.salt, client_key, verifier.server_key)


def mock_verifier(secret: bytes, user: str) -> ScramVerifier:
    """Return a verifier for a user that does not exist: always the same one, as a real one is."""
    name = user.encode("utf-8", "surrogateescape")
    salt, stored, server = (
        hmac.digest(secret, word + name, "sha256") for word in (b"salt:", b"stored:", b"server:")
    )
    return ScramVerifier(USUAL_ITERATIONS, salt[:_MOCK_SALT_BYTES], stored, server, is_mock=True)


def decoded(text: str | bytes) -> bytes:
    """Return what base64 text stands for; ValueError where it is none."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error


def prepared(password: str) -> bytes:
    """Return a password by SASLprep (RFC 4013), or as it is where that refuses it, as Postgres."""
    if password.isascii():
        return password.encode()
    raw = password.encode("utf-8", "surrogateescape")
    mapped = "".join(
        " " if stringprep.in_table_c12(c) else c for c in password if not stringprep.in_table_b1(c)
    )
    normal = unicodedata.normalize("NFKC", mapped)
    if not normal or any(map(_is_prohibited, normal)) or not _is_one_direction(normal):
        return raw
    return normal.encode()


def _is_prohibited(character: str) -> bool:
    return (
        stringprep.in_table_a1(character)  # unassigned in Unicode 3.2
        or stringprep.in_table_c12(character)
        or stringprep.in_table_c21_c22(character)
        or any(table(character) for table in _PROHIBITED)
    )


_PROHIBITED: Final = (
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def _is_one_direction(text: str) -> bool:
    """RFC 3454 section 6: text with right-to-left letters starts and ends with one."""
    if not any(map(stringprep.in_table_d1, text)):
        return True
    return (
        not any(map(stringprep.in_table_d2, text))
        and stringprep.in_table_d1(text[0])
        and stringprep.in_table_d1(text[-1])
    )
