"""What a server says as it ends a backend: for the client at work there, and for nobody else."""

from typing import Final

from shardrouter.errors import BackendLost
from shardrouter.proxy.relay.pair import BackendRelay
from shardrouter.wire.codes import Seen

HEADER_BYTES: Final = 5
_IDLE: Final = ord("I")


def is_kept_back(relay: BackendRelay, body: bytes) -> bool:
    """Keep the error with this body from the client, if it is done with the backend.

    Such a client gets another backend for what comes next, and shall not see a FATAL meanwhile.
    Called while the chunk that ends with the error is on its way. False: the client sees it.
    """
    stream = relay.stream
    if relay.client.keeps or stream.owed() or stream.is_skipping or stream.status != _IDLE:
        return False
    is_cut = stream.flags & Seen.CUT and stream.pieces
    out: bytes = stream.pieces[-1] if is_cut else stream.data
    if not out.endswith(body):
        return False
    rest = out[: -(HEADER_BYTES + len(body))]
    if is_cut:
        stream.pieces[-1] = rest
    else:
        stream.data = rest
    return True


def loss(shard: str, node: str, reason: str) -> BackendLost:
    """Return what a client is told whose backend ended without a word."""
    return BackendLost(
        f"the connection to the node was lost while it was used: {reason}",
        shard=shard,
        node=node,
        hint="what the statement did is not known unless it was in a transaction that was not"
        " committed: look before you repeat it",
    )
