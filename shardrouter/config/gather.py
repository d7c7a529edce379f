"""Settings of queries over all shards."""

from typing import Annotated

from pydantic import Field

from shardrouter.config.section import Section


class GatherSettings(Section):
    """Bounds of scattered queries."""

    concurrency: Annotated[int, Field(ge=1, le=1024)] = 16
    """Shards asked side by side, at most, for one query."""

    max_rows: Annotated[int, Field(ge=1, le=100_000_000)] = 100_000
    """Rows a merge may hold in memory before it refuses."""
