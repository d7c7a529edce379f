"""Settings of the proxy process: where it listens, how many workers, how it ends."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from shardrouter.config.section import Section


class ProxySettings(Section):
    """The process that speaks the Postgres protocol."""

    listen: Annotated[str, Field(max_length=255)] = "127.0.0.1:6432"
    """Address and port for clients; empty: no TCP. `[::]:6432` and `0.0.0.0:6432` listen on every
    interface."""

    unix_socket_directory: Path | None = None
    """Directory of the Unix socket `.s.PGSQL.PORT`, relative to the settings file; none: no Unix
    socket."""

    workers: Annotated[int, Field(ge=0, le=256)] = 0
    """Worker processes; 0: one for each processor."""

    http_listen: Annotated[str, Field(max_length=255)] = "127.0.0.1:9432"
    """Address and port of /metrics, /health and /ready; empty: none."""

    run_directory: Path | None = None
    """Directory of the control socket, by which a new process takes over; relative to the settings
    file; none: one in the temporary directory, named for the user and the port."""

    topology_file: Path | None = None
    """A topology in a file instead of the catalog, where nothing moves; relative to the settings
    file."""

    admin_users: tuple[str, ...] = ("shardrouter_admin",)
    """Users that may use the admin database `shardrouter`."""

    max_clients: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000
    """Clients connected at once, over all workers; more are refused with 53300."""

    login_timeout_seconds: Annotated[float, Field(ge=0.1, le=600)] = 15.0
    """How long a client may take from connecting to being logged in."""

    drain_seconds: Annotated[float, Field(ge=0, le=86_400)] = 30.0
    """How long a stopping process lets transactions end before it closes them."""

    log_format: Literal["text", "json"] = "text"
    """Form of the log lines on stderr."""

    slow_query_ms: Annotated[int | None, Field(ge=0, le=86_400_000)] = None
    """Statements that take longer are logged without their values; none: no slow-query log."""
