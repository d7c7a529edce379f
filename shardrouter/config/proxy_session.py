"""Settings of the proxy's sessions: which node answers, what a client may keep."""

from typing import Annotated, Literal

from pydantic import Field

from shardrouter.config.section import Section


class ProxySessionSettings(Section):
    """What a client of the proxy may do."""

    role: Literal["primary", "replica", "auto"] = "primary"
    """Which nodes a session uses unless it says so itself; `auto`: replicas for transactions that
    are READ ONLY, else the primary."""

    pinning: Literal["allow", "refuse"] = "allow"
    """Temporary tables, LISTEN, session advisory locks and WITH HOLD cursors keep a client on its
    backend in transaction pooling, or are refused."""

    max_message_bytes: Annotated[int, Field(ge=1024, le=1_073_741_823)] = 1_073_741_823
    """Messages longer than this are refused."""
