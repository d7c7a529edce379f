"""``shardrouter proxy``: check the settings, then become the proxy."""

import logging
import os
import sys
from typing import Annotated, Any

import typer

from shardrouter.cli.catalog import ConfigOption
from shardrouter.config import load_settings


def proxy(
    config: ConfigOption = None,
    listen: Annotated[
        str | None,
        typer.Option(
            "--listen",
            metavar="HOST:PORT",
            help="where clients connect; default: proxy.listen",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=0,
            max=256,
            help="worker processes, 0: one for each processor; default: proxy.workers",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Serve the fleet to any Postgres client, until SIGTERM.

    With a proxy of the same run directory running, take its place: no connection is lost.
    """
    given: dict[str, Any] = {"listen": listen, "workers": workers}
    overrides = {key: value for key, value in given.items() if value is not None}
    logging.disable(logging.WARNING)  # the proxy itself logs what surprises in the settings
    load_settings(config, or_topology_file=True, proxy=overrides)
    arguments = [] if config is None else ["--config", str(config)]
    for key, value in overrides.items():
        arguments += [f"--{key}", str(value)]
    # Its own program: doors do not import each other, and ps shows what runs.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "shardrouter.proxy", *arguments])
