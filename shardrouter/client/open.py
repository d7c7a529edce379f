"""Put a router together: settings, background loops, pools. Only here are they composed."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from shardrouter.catalog import catalog_engine, found_fleet
from shardrouter.client.core import RouterCore
from shardrouter.client.pools import EngineFactory
from shardrouter.client.rebalance import watch_moves
from shardrouter.client.runtime import Runtime
from shardrouter.config import Settings, load_settings
from shardrouter.control import Background

if TYPE_CHECKING:
    from shardrouter.local import LocalFleet

MakeRuntime = Callable[[int], Runtime]


def open_core(path: Path, make_runtime: MakeRuntime, make_engine: EngineFactory) -> RouterCore:
    """Return a core on the fleet that a configuration file names."""
    return _compose(load_settings(path), make_runtime, make_engine, on_close=None)


def open_embedded(
    shards: int, replicas: int, make_runtime: MakeRuntime, make_engine: EngineFactory
) -> RouterCore:
    """Return a core on a fleet of its own, which is destroyed when the core is closed."""
    from shardrouter.local import LocalFleet  # only this door needs the local fleet

    fleet = LocalFleet.temporary(shards=shards, replicas=replicas)
    try:
        _found(fleet)
        settings = load_settings(None, catalog={"dsn": fleet.catalog.dsn()})
        return _compose(settings, make_runtime, make_engine, on_close=fleet.destroy)
    except BaseException:
        fleet.destroy()
        raise


def _found(fleet: "LocalFleet") -> None:
    engine = catalog_engine(fleet.catalog.dsn())
    try:
        found_fleet(engine, fleet.topology(), actor="embedded")
    finally:
        engine.dispose()


def _compose(
    settings: Settings,
    make_runtime: MakeRuntime,
    make_engine: EngineFactory,
    on_close: Callable[[], None] | None,
) -> RouterCore:
    background = Background(settings)
    background.start()
    core = RouterCore(
        settings, background, make_runtime(settings.gather.concurrency), make_engine, on_close
    )
    watch_moves(core)
    background.report_loads(core.queries.take)
    return core
