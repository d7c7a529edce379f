"""SCRAM-SHA-256 of a client that has its keys ready (RFC 5802, 7677). Pure.

The slow derivation from the password is done once, so that a login costs the client little.
"""

import hashlib
import hmac
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Final, Self

from benchmarks.measure import check

ITERATIONS: Final = 4096  # what Postgres uses unless told otherwise
MECHANISM: Final = b"SCRAM-SHA-256"
_NO_BINDING: Final = b"n,,"


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """The keys of one user."""

    salt: bytes
    client_key: bytes
    server_key: bytes

    @classmethod
    def of(cls, password: str, salt: bytes) -> Self:
        """Derive the keys of a password."""
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ITERATIONS)
        return cls(salt, _hmac(salted, b"Client Key"), _hmac(salted, b"Server Key"))

    @property
    def verifier(self) -> str:
        """What a server keeps, in the form of ``pg_authid.rolpassword``."""
        salt, stored, server = (
            b64encode(part).decode()
            for part in (self.salt, hashlib.sha256(self.client_key).digest(), self.server_key)
        )
        return f"SCRAM-SHA-256${ITERATIONS}:{salt}${stored}:{server}"


class ScramTalk:
    """One login: ``first``, then ``proof`` of the server's answer, then ``check_server``."""

    def __init__(self, keys: ScramKeys, nonce: bytes) -> None:
        self._keys = keys
        self._bare = b"n=,r=" + nonce
        self._signature = b""

    def first(self) -> bytes:
        """Return the client's first message."""
        return _NO_BINDING + self._bare

    def proof(self, challenge: bytes) -> bytes:
        """Return the answer to the server's first message."""
        nonce, salt, iterations = (part[2:] for part in challenge.split(b","))
        check(b64decode(salt) == self._keys.salt, "the proxy uses another verifier")
        check(int(iterations) == ITERATIONS, f"the proxy asks for {iterations!r} iterations")
        unproved = b"c=" + b64encode(_NO_BINDING) + b",r=" + nonce
        signed = b",".join((self._bare, challenge, unproved))
        stored = hashlib.sha256(self._keys.client_key).digest()
        mask = _hmac(stored, signed)
        self._signature = _hmac(self._keys.server_key, signed)
        proof = bytes(a ^ b for a, b in zip(self._keys.client_key, mask, strict=True))
        return unproved + b",p=" + b64encode(proof)

    def check_server(self, final: bytes) -> None:
        """Raise WrongAnswer unless the server knows the verifier as well."""
        check(final == b"v=" + b64encode(self._signature), "the proxy's signature is wrong")


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")
