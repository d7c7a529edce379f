"""SCRAM-SHA-256 and -PLUS, both sides of the talk (RFC 5802, 7677; as Postgres speaks it).

Pure: messages in, messages out; nonces are arguments. Written on hmac and hashlib instead of the
library scramp: a proxy needs the client key that a proof reveals, and logs in with keys instead of
a password, and scramp does neither; the tests let scramp play the other side.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from shardrouter.errors import (
    BackendProtocolError,
    BackendRefused,
    ClientProtocolError,
    LoginRefused,
)
from shardrouter.wire.scram_secrets import (
    KEY_BYTES,
    MOST_ITERATIONS,
    MOST_SALT_BYTES,
    ScramKeys,
    ScramVerifier,
    decoded,
)

SCRAM: Final = "SCRAM-SHA-256"
SCRAM_PLUS: Final = "SCRAM-SHA-256-PLUS"
MOST_SASL_BYTES: Final = 1024  # of a client's message, as PG_MAX_SASL_MESSAGE_LENGTH of Postgres
MOST_NONCE_BYTES: Final = 512
_BINDING_HEADER: Final = b"p=tls-server-end-point"
_PRINTABLE: Final = bytes(c for c in range(0x21, 0x7F) if c != 0x2C)  # all but the comma


class ScramServer:
    """One login of a client that we check. ``binding`` is given where TLS offers it."""

    __slots__ = ("_auth", "_binding", "_gs2", "_nonce", "_verifier", "client_key")

    def __init__(self, verifier: ScramVerifier, nonce: bytes, binding: bytes | None = None) -> None:
        self._verifier = verifier
        self._nonce = nonce
        self._binding = binding
        self._gs2 = b""
        self._auth = b""
        self.client_key = b""
        """Known after ``final`` said yes."""

    def __repr__(self) -> str:
        return "ScramServer()"

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """What to offer, best first."""
        return (SCRAM,) if self._binding is None else (SCRAM_PLUS, SCRAM)

    def first(self, body: bytes) -> bytes:
        """Take the body of SASLInitialResponse, return the server-first-message."""
        mechanism, data = _read_initial(body)
        if mechanism not in self.mechanisms:
            raise ClientProtocolError("client selected an invalid SASL authentication mechanism")
        flag, bare = self._read_gs2(data)
        self._check_flag(flag, is_plus=mechanism == SCRAM_PLUS)
        parts = bare.split(b",")
        if parts[0].startswith(b"m="):
            raise LoginRefused("client requires an unsupported SCRAM extension", sqlstate="0A000")
        if len(parts) < 2 or not parts[0].startswith(b"n=") or not parts[1].startswith(b"r="):
            raise _malformed()
        client_nonce = parts[1][2:]
        if not client_nonce or client_nonce.translate(None, _PRINTABLE):
            raise ClientProtocolError("non-printable characters in SCRAM nonce")
        self._nonce = client_nonce + self._nonce
        verifier = self._verifier
        answer = b"r=%b,s=%b,i=%d" % (
            self._nonce,
            base64.b64encode(verifier.salt),
            verifier.iterations,
        )
        self._auth = bare + b"," + answer + b","
        return answer

    def final(self, body: bytes) -> bytes | None:
        """Take the client-final-message, return the server-final-message; None: wrong proof."""
        without_proof, separator, proof_text = body.rpartition(b",p=")
        parts = without_proof.split(b",")
        if not separator or len(parts) < 2:
            raise _malformed()
        self._check_binding(parts[0])
        if not hmac.compare_digest(parts[1], b"r=" + self._nonce):
            raise ClientProtocolError("invalid SCRAM response: the nonce does not match")
        try:
            proof = decoded(proof_text)
        except ValueError:
            raise _malformed() from None
        if len(proof) != KEY_BYTES:
            raise _malformed()
        verifier = self._verifier
        auth = self._auth + without_proof
        client_key = _xor(proof, hmac.digest(verifier.stored_key, auth, "sha256"))
        is_right = hmac.compare_digest(hashlib.sha256(client_key).digest(), verifier.stored_key)
        signature = hmac.digest(verifier.server_key, auth, "sha256")
        if not is_right or verifier.is_mock:
            return None
        self.client_key = client_key
        return b"v=" + base64.b64encode(signature)

    def _read_gs2(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the binding flag and the rest behind the GS2 header."""
        parts = data.split(b",", 2)
        if len(parts) != 3:
            raise _malformed()
        flag, authorization, bare = parts
        if authorization:
            raise LoginRefused(
                "client uses authorization identity, but it is not supported", sqlstate="0A000"
            )
        self._gs2 = flag + b",,"
        return flag, bare

    def _check_flag(self, flag: bytes, *, is_plus: bool) -> None:
        if flag == b"y" and self._binding is not None:
            # Somebody between us took -PLUS out of our offer.
            raise LoginRefused(
                "the client thinks that this server does not offer SCRAM channel binding,"
                " but it does: the connection may be intercepted"
            )
        if is_plus != flag.startswith(b"p=") or (not is_plus and flag not in (b"n", b"y")):
            raise _malformed()
        if is_plus and flag != _BINDING_HEADER:
            raise ClientProtocolError("unsupported SCRAM channel-binding type")

    def _check_binding(self, attribute: bytes) -> None:
        bound = self._gs2 + (self._binding or b"") if self._gs2[:1] == b"p" else self._gs2
        if not hmac.compare_digest(attribute, b"c=" + base64.b64encode(bound)):
            raise LoginRefused("SCRAM channel binding check failed")


class ScramClient:
    """One login of ours at a node: ``first``, ``read_challenge``, ``answer``, ``check``.

    ``binding`` is the hash of the node's certificate, None without TLS. Raises BackendRefused where
    the node offers nothing we speak.
    """

    __slots__ = ("_bare", "_bound", "_gs2", "_nonce", "_server_first", "_signature", "mechanism")

    def __init__(self, offered: Sequence[str], nonce: bytes, binding: bytes | None = None) -> None:
        self._nonce = nonce
        self._bare = b"n=,r=" + nonce
        self._server_first = b""
        self._signature = b""
        if binding is not None and SCRAM_PLUS in offered:
            self.mechanism = SCRAM_PLUS
            self._gs2 = _BINDING_HEADER + b",,"
            self._bound = self._gs2 + binding
            return
        if SCRAM not in offered:
            raise BackendRefused("the node offers no SASL mechanism that we speak")
        self.mechanism = SCRAM
        self._gs2 = b"n,," if binding is None else b"y,,"
        self._bound = self._gs2

    def __repr__(self) -> str:
        return f"ScramClient({self.mechanism})"

    def first(self) -> bytes:
        """Return the client-first-message."""
        return self._gs2 + self._bare

    def read_challenge(self, data: bytes) -> tuple[bytes, int]:
        """Take the server-first-message, return salt and iterations, both within our bounds."""
        parts = data.split(b",", 3)
        if len(parts) < 3 or [part[:2] for part in parts[:3]] != [b"r=", b"s=", b"i="]:
            raise BackendProtocolError("the node's SCRAM challenge is malformed")
        nonce, salt_text, count = (part[2:] for part in parts[:3])
        if (
            not nonce.startswith(self._nonce)
            or not len(self._nonce) < len(nonce) <= MOST_NONCE_BYTES
            or nonce.translate(None, _PRINTABLE)
        ):
            raise BackendProtocolError(
                "the node's SCRAM nonce does not extend ours, or is too long"
            )
        if not count.isdigit() or len(count) > 10 or not 1 <= int(count) <= MOST_ITERATIONS:
            raise BackendProtocolError(
                f"the node asks for SCRAM iterations outside of 1 to {MOST_ITERATIONS}"
            )
        try:
            salt = decoded(salt_text)
        except ValueError:
            raise BackendProtocolError("the node's SCRAM salt is not base64") from None
        if not 1 <= len(salt) <= MOST_SALT_BYTES:
            raise BackendProtocolError("the node's SCRAM salt is empty or too long")
        self._nonce = nonce
        self._server_first = data
        return salt, int(count)

    def answer(self, keys: ScramKeys) -> bytes:
        """Return the client-final-message."""
        without_proof = b"c=" + base64.b64encode(self._bound) + b",r=" + self._nonce
        auth = self._bare + b"," + self._server_first + b"," + without_proof
        stored_key = hashlib.sha256(keys.client_key).digest()
        proof = _xor(keys.client_key, hmac.digest(stored_key, auth, "sha256"))
        self._signature = hmac.digest(keys.server_key, auth, "sha256")
        return without_proof + b",p=" + base64.b64encode(proof)

    def check(self, data: bytes) -> None:
        """Take the server-final-message: the node must have known the verifier as well."""
        first = data.split(b",", 1)[0]
        if first.startswith(b"e="):
            raise BackendRefused("the node refused the SCRAM proof")
        expected = b"v=" + base64.b64encode(self._signature)
        if not self._signature or not hmac.compare_digest(first, expected):
            raise BackendProtocolError(
                "the node's SCRAM signature is wrong: it does not know this user's verifier"
            )


def _read_initial(body: bytes) -> tuple[str, bytes]:
    """Return mechanism and data of SASLInitialResponse, whose inner length must fit exactly."""
    name, separator, rest = body.partition(b"\0")
    if not separator or len(rest) < 4 or int.from_bytes(rest[:4]) != len(rest) - 4:
        raise ClientProtocolError("malformed SASLInitialResponse")
    return name.decode("ascii", "replace"), rest[4:]


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left) ^ int.from_bytes(right)).to_bytes(KEY_BYTES)


def _malformed() -> ClientProtocolError:
    return ClientProtocolError("malformed SCRAM message")
