"""Settings of the proxy's backends: how many, how long they live, how long clients wait."""

from typing import Annotated, Literal

from pydantic import Field

from shardrouter.config.section import Section


class ProxyPoolSettings(Section):
    """Backends of the proxy. Bounds hold over all workers together."""

    mode: Literal["transaction", "session", "statement"] = "transaction"
    """What a client keeps its backend for."""

    size: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Backends of one user on one node, at most."""

    node_size: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Backends on one node, at most."""

    user_size: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Backends of one user on all nodes together, at most."""

    fleet_size: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Backends in all, at most."""

    max_waiters: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Clients of one worker that may wait for backends of one user on one node."""

    checkout_timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 10.0
    """How long a client waits for a backend before it gets 53300."""

    connect_timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 5.0
    """How long connecting and logging in at a node may take."""

    idle_seconds: Annotated[float, Field(ge=1, le=86_400)] = 600.0
    """Backends idle for longer are closed."""

    lifetime_seconds: Annotated[float, Field(ge=1, le=604_800)] = 3600.0
    """Backends older than this are closed when they are idle; each up to a tenth earlier, so that
    they do not all end at once."""

    check_after_seconds: Annotated[float, Field(ge=0, le=86_400)] = 30.0
    """A backend idle for longer is asked whether it lives before a client gets it."""

    query_timeout_seconds: Annotated[float | None, Field(gt=0, le=604_800)] = None
    """A statement that takes longer is cancelled; none: no limit."""

    transaction_idle_seconds: Annotated[float | None, Field(gt=0, le=604_800)] = None
    """A client that leaves a transaction idle for longer is disconnected; none: no limit."""

    prepared_statements: Annotated[int, Field(ge=0, le=100_000)] = 500
    """Prepared statements kept on one backend; the least recently used makes room."""
