"""Settings of the connection pools, one pool a node."""

from typing import Annotated

from pydantic import Field

from shardrouter.config.section import Section


class PoolSettings(Section):
    """Connections of one process to one node."""

    size: Annotated[int, Field(ge=1, le=1000)] = 10
    """Connections a node, at most."""

    checkout_timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 5.0
    """How long to wait for a connection when all are in use."""

    recycle_seconds: Annotated[float, Field(ge=1, le=86_400)] = 1800.0
    """Connections older than this are replaced when they are checked out."""

    connect_timeout_seconds: Annotated[float, Field(ge=2, le=60)] = 3.0
    """How long one connection attempt may take (libpq waits 2 seconds at least)."""
