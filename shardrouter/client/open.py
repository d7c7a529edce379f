"""Put a router together: settings, background loops, pools. Only here are they composed."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from shardrouter.client.core import RouterCore
from shardrouter.client.pools import EngineFactory
from shardrouter.client.runtime import Runtime
from shardrouter.config import Settings, load_settings
from shardrouter.control import Background

MakeRuntime = Callable[[int], Runtime]


def open_core(path: Path, make_runtime: MakeRuntime, make_engine: EngineFactory) -> RouterCore:
    """Return a core on the fleet that a configuration file names."""
    return _compose(load_settings(path), make_runtime, make_engine, on_close=None)


def open_embedded(
    shards: int, replicas: int, make_runtime: MakeRuntime, make_engine: EngineFactory
) -> RouterCore:
    """Return a core on a fleet of its own, which is destroyed when the core is closed."""
    from shardrouter.local import embedded_fleet  # only this door needs the local fleet

    data = Path(tempfile.mkdtemp(prefix="shardrouter-"))
    fleet = embedded_fleet(data, shards=shards, replicas=replicas)
    try:
        settings = load_settings(None, catalog={"dsn": fleet.catalog.dsn("catalog")})
        return _compose(settings, make_runtime, make_engine, on_close=fleet.destroy)
    except BaseException:
        fleet.destroy()
        raise


def _compose(
    settings: Settings,
    make_runtime: MakeRuntime,
    make_engine: EngineFactory,
    on_close: Callable[[], None] | None,
) -> RouterCore:
    background = Background(settings)
    background.start()
    return RouterCore(
        settings, background, make_runtime(settings.gather.concurrency), make_engine, on_close
    )
