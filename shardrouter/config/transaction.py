"""Settings of transactions over several shards."""

from typing import Annotated

from pydantic import Field

from shardrouter.config.section import Section


class TransactionSettings(Section):
    """How transactions that a crash left are finished."""

    resolve_every_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 5.0
    """How often this process looks for transactions in doubt."""

    presume_abort_after_seconds: Annotated[float, Field(ge=0.5, le=3600)] = 10.0
    """A prepared transaction without a decision is rolled back when it is older than this."""
