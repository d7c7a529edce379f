"""Settings of id generation."""

from typing import Annotated

from pydantic import Field

from shardrouter.config.section import Section


class IdSettings(Section):
    """How `router.new_id` stays unique over processes."""

    horizon_seconds: Annotated[float, Field(ge=1, le=86_400)] = 600.0
    """How far ids may run ahead of the clock in a burst (4,000 a second are no burst). A worker
    number is blocked for as long after a crash."""

    lease_seconds: Annotated[float, Field(ge=1, le=3600)] = 30.0
    """How long a worker number is leased at a time."""
