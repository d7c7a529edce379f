"""Settings of transactions over several shards."""

from typing import Annotated

from pydantic import Field

from shardrouter.config.section import Section


class TransactionSettings(Section):
    """How long transactions over several shards wait, and how what a crash left is finished."""

    lock_timeout_ms: Annotated[int, Field(ge=1, le=3_600_000)] = 10_000
    """How long one of their statements waits for a lock. No server sees a deadlock that runs over
    two shards: this ends it."""

    timeout_seconds: Annotated[float, Field(ge=0.1, le=86_400)] = 60.0
    """A transaction that has been open for longer is rolled back instead of committed."""

    resolve_every_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 5.0
    """How often this process looks for transactions in doubt."""

    presume_abort_after_seconds: Annotated[float, Field(ge=0.5, le=3600)] = 10.0
    """A prepared transaction without a decision is rolled back when it is older than this."""
