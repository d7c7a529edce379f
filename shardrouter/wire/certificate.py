"""Read from a certificate what SCRAM's channel binding needs, and when it ends.

Pure. The binding ``tls-server-end-point`` (RFC 5929) is the certificate's hash by the algorithm of
its own signature, SHA-256 where that is MD5 or SHA-1. Only the few bytes that name it are read;
where they name no single hash (Ed25519, RSA-PSS), there is no binding and none is offered.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

_RSA: Final = bytes.fromhex("2a864886f70d0101")  # 1.2.840.113549.1.1
_ECDSA: Final = bytes.fromhex("2a8648ce3d0403")  # 1.2.840.10045.4.3
_HASHES: Final[Mapping[bytes, str]] = {
    _RSA + b"\x04": "sha256",  # MD5
    _RSA + b"\x05": "sha256",  # SHA-1
    _RSA + b"\x0b": "sha256",
    _RSA + b"\x0c": "sha384",
    _RSA + b"\x0d": "sha512",
    _RSA + b"\x0e": "sha224",
    bytes.fromhex("2a8648ce3d0401"): "sha256",  # ECDSA with SHA-1
    _ECDSA + b"\x01": "sha224",
    _ECDSA + b"\x02": "sha256",
    _ECDSA + b"\x03": "sha384",
    _ECDSA + b"\x04": "sha512",
}
_SEQUENCE: Final = 0x30
_OBJECT_ID: Final = 0x06
_INTEGER: Final = 0x02
_VERSION: Final = 0xA0
_UTC_TIME: Final = 0x17


def binding_of(certificate: bytes) -> bytes | None:
    """Return the binding of a certificate in DER, None where it has none."""
    try:
        outer, _ = _element(certificate, 0, _SEQUENCE)
        _, after_content = _element(certificate, outer, _SEQUENCE)
        algorithm, _ = _element(certificate, after_content, _SEQUENCE)
        start, end = _element(certificate, algorithm, _OBJECT_ID)
    except (ValueError, IndexError):
        return None
    name = _HASHES.get(certificate[start:end])
    return hashlib.new(name, certificate).digest() if name else None


def end_of(certificate: bytes) -> datetime | None:
    """Return when a certificate in DER ends to be valid, None where that cannot be read."""
    try:
        outer, _ = _element(certificate, 0, _SEQUENCE)
        at, _ = _element(certificate, outer, _SEQUENCE)
        if certificate[at] == _VERSION:
            _, at = _element(certificate, at, _VERSION)
        for tag in (_INTEGER, _SEQUENCE, _SEQUENCE):  # serial number, signature, issuer
            _, at = _element(certificate, at, tag)
        at, _ = _element(certificate, at, _SEQUENCE)
        _, at = _element(certificate, at, certificate[at])
        start, end = _element(certificate, at, certificate[at])
        return _time(certificate[at], certificate[start:end].decode("ascii"))
    except (ValueError, IndexError):
        return None


def _time(tag: int, text: str) -> datetime:
    if tag == _UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text  # RFC 5280, 4.1.2.5.1
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _element(data: bytes, at: int, tag: int) -> tuple[int, int]:
    """Return where the content of the element at ``at`` starts and ends."""
    if data[at] != tag:
        raise ValueError("another element was expected")
    length, start = data[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        length = int.from_bytes(data[start : start + count])
        start += count
    if start + length > len(data):
        raise ValueError("the element is cut off")
    return start, start + length
