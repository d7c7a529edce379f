"""Settings of the monitor, which samples the nodes."""

from typing import Annotated

from pydantic import Field

from shardrouter.config.section import Section


class MonitorSettings(Section):
    """How often nodes are asked for role, position and lag."""

    every_ms: Annotated[int, Field(ge=10, le=60_000)] = 250
    """Pause between two samples of a node."""

    timeout_ms: Annotated[int, Field(ge=50, le=60_000)] = 1000
    """A node that does not answer within this is down until it does."""
