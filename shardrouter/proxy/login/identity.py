"""Who a client is, once that is certain."""

from dataclasses import dataclass, field

from shardrouter.wire import ScramKeys

BackendSecret = ScramKeys


@dataclass(frozen=True, slots=True)
class Identity:
    """The outcome of a login."""

    user: str
    secret: BackendSecret | None = field(repr=False)
    """Lets the proxy log in as the user at every node that has the same verifier."""
    method: str
    """``trust``, ``cert`` or ``scram-sha-256``."""
