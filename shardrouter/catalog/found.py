"""Found a fleet in one call: install the tables, name the fleet, publish its first topology."""

from dataclasses import replace

from sqlalchemy import Engine

from shardrouter.catalog.install import install
from shardrouter.catalog.store import CatalogStore
from shardrouter.errors import StaleEpoch
from shardrouter.topology import Epoch, Topology


def found_fleet(
    engine: Engine, topology: Topology, actor: str, reason: str = "a new fleet"
) -> Topology:
    """Return the fleet's topology: the one it has, or ``topology`` published at epoch 1.

    May be repeated, and run from several processes at once: the first one's topology holds. To
    change it afterwards use ``CatalogStore.publish``. Raises SettingsError when the fleet was
    founded with another slot count.
    """
    install(engine)
    store = CatalogStore(engine)
    fleet = store.found(topology.slots, actor=actor)
    if fleet.epoch == 0:
        first = replace(topology, epoch=Epoch(1))
        try:
            store.publish(first, expected=Epoch(0), actor=actor, reason=reason)
            return first
        except StaleEpoch:
            pass  # Race: another process founded it; its topology holds
    return store.load()
