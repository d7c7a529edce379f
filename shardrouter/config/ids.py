"""Settings of id generation."""

from typing import Annotated

from pydantic import Field

from shardrouter.config.section import Section


class IdSettings(Section):
    """How `router.new_id` stays unique over processes."""

    horizon_seconds: Annotated[float, Field(ge=1, le=86_400)] = 600.0
    """How far ahead a worker number's past is fenced off, against clocks that step back."""

    lease_seconds: Annotated[float, Field(ge=1, le=3600)] = 30.0
    """How long a worker number is held without a word from its process."""
