"""Settings of the catalog: where it is, how it is watched, how long its word holds."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from shardrouter.config.section import Section


class CatalogSettings(Section):
    """The Postgres database that keeps the topology."""

    dsn: Annotated[str, Field(repr=False)] = ""
    """Connection string or URL of the catalog database. Name it directly, not through a pooler
    in transaction mode."""

    dsn_file: Path | None = None
    """File that holds the connection string, instead of `dsn`; relative to the settings file."""

    listen: bool = True
    """Hear of changes by LISTEN. Without it polling alone tells."""

    poll_seconds: Annotated[float, Field(ge=0.05, le=60)] = 1.0
    """How often the epoch is asked for, whatever LISTEN says."""

    lease_seconds: Annotated[float, Field(ge=1, le=3600)] = 15.0
    """How long a router trusts its topology without an answer from the catalog."""

    connect_timeout_seconds: Annotated[float, Field(ge=2, le=60)] = 3.0
    """How long one connection attempt may take (libpq waits 2 seconds at least)."""

    statement_timeout_seconds: Annotated[float, Field(ge=0.1, le=60)] = 5.0
    """How long one statement may take, measured on both ends."""
