"""Settings of routing: which node answers a read."""

from typing import Annotated, Literal

from pydantic import Field

from shardrouter.config.section import Section


class RoutingSettings(Section):
    """How reads choose a node."""

    catch_up_wait_ms: Annotated[int, Field(ge=0, le=60_000)] = 50
    """How long a read waits for a replica to catch up before it goes to the primary."""

    max_lag_seconds: Annotated[float | None, Field(gt=0, le=86_400)] = None
    """Replicas further behind than this take no reads; none: no limit."""

    replica_fallback: Literal["primary", "error"] = "primary"
    """Where a replica read goes when no replica is fresh enough: `primary`, or `error` to raise."""

    zone: Annotated[str, Field(max_length=63)] = ""
    """Where this process stands; replicas of the same zone are preferred when not empty."""
