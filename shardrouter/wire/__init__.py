"""The Postgres wire protocol: bytes to messages and back. Values in, values out."""

from shardrouter.wire import messages
from shardrouter.wire.certificate import binding_of, end_of
from shardrouter.wire.scram import (
    MOST_SASL_BYTES,
    SCRAM,
    SCRAM_PLUS,
    ScramClient,
    ScramServer,
)
from shardrouter.wire.scram_secrets import (
    ScramKeys,
    ScramVerifier,
    decoded,
    derive_keys,
    keys_of,
    mock_verifier,
    read_verifier,
    verifier_of,
    verifier_text,
)
from shardrouter.wire.startup import (
    ALPN,
    MOST_STARTUP_BYTES,
    CancelRequest,
    StartupMessage,
    read_first_packet,
)

__all__ = [
    "ALPN",
    "MOST_SASL_BYTES",
    "MOST_STARTUP_BYTES",
    "SCRAM",
    "SCRAM_PLUS",
    "CancelRequest",
    "ScramClient",
    "ScramKeys",
    "ScramServer",
    "ScramVerifier",
    "StartupMessage",
    "binding_of",
    "decoded",
    "derive_keys",
    "end_of",
    "keys_of",
    "messages",
    "mock_verifier",
    "read_first_packet",
    "read_verifier",
    "verifier_of",
    "verifier_text",
]
