"""Load the proxy's certificate for clients.

A new context is made at each reload; connections keep the one they shook hands with. What cannot
be loaded raises, so that the caller keeps what it has.
"""

import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from shardrouter.config import ProxyAuthSettings
from shardrouter.errors import SettingsError
from shardrouter.wire import ALPN, binding_of, end_of


@dataclass(frozen=True, slots=True)
class ClientTls:
    """What a handshake with a client needs."""

    context: ssl.SSLContext
    binding: bytes | None = field(repr=False)
    """Our certificate as SCRAM's ``tls-server-end-point``; None: -PLUS is not offered."""


def load_client_tls(settings: ProxyAuthSettings, now: datetime) -> ClientTls | None:
    """Return the TLS of the settings, None where there is none. Raises SettingsError."""
    chain, key = settings.certificate_file, settings.key_file
    if settings.tls == "off":
        return None
    if chain is None:
        if settings.tls == "require":
            raise SettingsError(
                "proxy_auth.tls is `require` and there is no certificate",
                hint="set proxy_auth.certificate_file and proxy_auth.key_file",
            )
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # As Postgres: no tickets (a resumed session would skip a new check of certificates), and none
    # of the old ways to make TLS do more work than it must.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.num_tickets = 0
    context.set_alpn_protocols([ALPN])
    try:
        # An encrypted key must not ask for its password on the terminal.
        context.load_cert_chain(chain, key, password=_refuse_password)
        if settings.client_ca_file is not None:
            context.load_verify_locations(settings.client_ca_file)
            context.verify_mode = ssl.CERT_OPTIONAL
        certificate = _first_certificate(chain)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise SettingsError(
            f"the certificates of proxy_auth cannot be loaded: {_words(error)}",
            hint="certificate_file, key_file and client_ca_file are PEM files that fit together",
        ) from None
    _refuse_expired(chain, certificate, now)
    return ClientTls(context, binding_of(certificate))


def _refuse_password() -> NoReturn:
    raise ValueError("the key is encrypted, and there is nobody to ask for its password")


def _first_certificate(chain: Path) -> bytes:
    text = chain.read_text(encoding="ascii", errors="replace")
    start, end = text.index(ssl.PEM_HEADER), text.index(ssl.PEM_FOOTER) + len(ssl.PEM_FOOTER)
    return ssl.PEM_cert_to_DER_cert(text[start:end])


def _refuse_expired(chain: Path, certificate: bytes, now: datetime) -> None:
    end = end_of(certificate)
    if end is not None and end < now:
        raise SettingsError(
            f"the certificate {chain} expired at {end.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
            hint="put a valid certificate there",
        )


def _words(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)
