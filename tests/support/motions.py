"""Publish by hand what a mover publishes: slots in motion, in the catalog of a test's cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from shardrouter.catalog import CatalogStore, LiveRouter, catalog_engine
from shardrouter.topology import Motion, ShardId, Slot, SlotsInMotion, Topology
from tests.support.cluster import Cluster
from tests.support.eventually import eventually

MOVE: Final = 7
SOURCE: Final = ShardId("s0")
TARGET: Final = ShardId("s1")


@dataclass(frozen=True)
class Motions:
    """The catalog of one test, and one move of a few slots from s0 to s1."""

    store: CatalogStore
    slots: tuple[Slot, ...]

    def publish(self, motion: Motion | None, owner: str = "s0", **changes: Any) -> Topology:
        """Publish the slots as being in that motion, owned by that shard; return the topology."""
        now = self.store.load()
        changes["owners"] = now.owners_with(self.slots, ShardId(owner))
        if motion is None:
            new = now.without_motion(MOVE, **changes)
        else:
            moved = SlotsInMotion(MOVE, self.slots, SOURCE, TARGET, motion)
            new = now.with_motion(moved, **changes)
        self.store.publish(new, expected=now.epoch, actor="tests", reason="a move by hand")
        return new

    def live(self) -> list[LiveRouter]:
        """Return the routers of the catalog."""
        return list(self.store.routers())

    def publish_and_wait(self, motion: Motion | None, owner: str = "s0", **how: Any) -> Topology:
        """Publish, and wait until every router serves it."""
        new = self.publish(motion, owner, **how)
        eventually(lambda: all(router.epoch >= new.epoch for router in self.live()))
        return new


@contextmanager
def motions_of(cluster: Cluster, *slots: Slot) -> Iterator[Motions]:
    """Give the motions of these slots of s0."""
    engine = catalog_engine(cluster.catalog_dsn)
    try:
        yield Motions(CatalogStore(engine), tuple(sorted(slots)))
    finally:
        engine.dispose()
