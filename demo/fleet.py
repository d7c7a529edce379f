"""The demo's fleet: real servers of this process, a settings file, and a router that reads it.

``Router.embedded()`` would be enough for a program; the demo also starts a proxy on the same
settings and lets a shard join later.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shardrouter import Router
from shardrouter.catalog import catalog_engine, found_fleet
from shardrouter.local import HOST, LocalFleet

BACKENDS: Final = 4
"""The proxy's, to each node."""


@dataclass(frozen=True, slots=True)
class DemoFleet:
    """What the sections work on."""

    servers: LocalFleet
    router: Router
    settings: Path
    """The settings file of router and proxy."""


@contextmanager
def demo_fleet(shards: int, replicas: int) -> Iterator[DemoFleet]:
    """Start a fleet for the block; nothing of it is left afterwards. Raises FleetError."""
    servers = LocalFleet.temporary(shards=shards, replicas=replicas)
    try:
        with tempfile.TemporaryDirectory(prefix="shardrouter-demo-") as name:
            settings = Path(name) / "shardrouter.toml"
            _found(servers)
            settings.write_text(_settings_text(servers))
            with Router.from_config(settings) as router:
                yield DemoFleet(servers, router, settings)
    finally:
        servers.destroy()


def _found(servers: LocalFleet) -> None:
    engine = catalog_engine(servers.catalog.dsn())
    try:
        found_fleet(engine, servers.topology(), actor="demo")
    finally:
        engine.dispose()


def _settings_text(servers: LocalFleet) -> str:
    return f"""\
[catalog]
dsn = "{servers.catalog.dsn()}"

[proxy]
listen = "{HOST}:0"
http_listen = ""
workers = 1
run_directory = "run"

[proxy_pool]
size = {BACKENDS}

[rebalance]
soak_seconds = 0.0  # the demo looks at what is left, so the copies go at once
"""
