"""Slots handed over from one shard to another by hand, one publication after the other."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from shardrouter.catalog import CatalogStore, LiveRouter, catalog_engine
from shardrouter.topology import (
    Epoch,
    Motion,
    Position,
    ShardId,
    Slot,
    SlotsInMotion,
    Topology,
    key_slot,
    parse_lsn,
)
from tests.support.cluster import Cluster
from tests.support.eventually import eventually
from tests.support.guarded import CREATE_ORDERS, ORDERS, Guarded, keys_of

MOVE: Final = 7
SOURCE: Final = ShardId("s0")
TARGET: Final = ShardId("s1")


class HandOver:
    """The slots of some keys of s0, on their way to s1. ``keys`` move, ``others`` stay on s0.

    Rows are carried by hand; guards stand as a mover would set them.
    """

    def __init__(self, guarded: Guarded, store: CatalogStore) -> None:
        self.guarded = guarded
        self.cluster = guarded.cluster
        self.store = store
        self.topology = guarded.topology
        owned = keys_of(guarded.topology, SOURCE, 40)
        self.keys = owned[:8]
        self.slots = tuple(sorted({self.slot(key) for key in self.keys}))
        self.others = [key for key in owned[8:] if self.slot(key) not in self.slots]

    def slot(self, key: int) -> Slot:
        return Slot(key_slot(key, self.topology.slots))

    # Publications

    def copying(self) -> Topology:
        """The target gets a copy; also the retreat from ``pause``."""
        self._install(following := self.topology.with_motion(self._motion(Motion.COPYING)))
        return self.publish(following)

    def pause(self) -> Topology:
        """Writers are to be held; the guards do not let them in any more."""
        self.publish(self.topology.with_motion(self._motion(Motion.PAUSED)))
        self._install(self.topology)
        return self.topology

    def pause_without_guards(self) -> Topology:
        return self.publish(self.topology.with_motion(self._motion(Motion.PAUSED)))

    def commit(self) -> Topology:
        """The target owns the slots, and does not admit writes yet."""
        self.carry()
        owners = self.topology.owners_with(self.slots, TARGET)
        return self.publish(self.topology.next(owners=owners))

    def activate(self) -> Topology:
        """The target admits writes; its replicas must have what is there now."""
        following = self.topology.with_motion(
            self._motion(Motion.MOVED), floors=((TARGET, self.position(TARGET)),)
        )
        self._install(following)
        return self.publish(following)

    def finish(self) -> Topology:
        return self.publish(self.topology.without_motion(MOVE))

    def publish(self, topology: Topology) -> Topology:
        """Publish the next topology, and return it."""
        expected = Epoch(topology.epoch - 1)
        self.store.publish(topology, expected=expected, actor="tests", reason="by hand")
        self.topology = topology
        return topology

    def _motion(self, motion: Motion) -> SlotsInMotion:
        return SlotsInMotion(MOVE, self.slots, SOURCE, TARGET, motion)

    def _install(self, topology: Topology) -> None:
        for shard in (SOURCE, TARGET):
            self.guarded.install(topology, shard)

    # Shards

    def carry(self) -> None:
        """Bring the rows of the moving keys to the target, as replication would."""
        with self.guarded.connect(SOURCE) as source, self.guarded.connect(TARGET) as target:
            target.execute("SET session_replication_role = replica")
            for row in source.execute("SELECT id, user_id, note FROM orders").fetchall():
                if self.slot(int(str(row[1]))) in self.slots:
                    insert = "INSERT INTO orders VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
                    target.execute(insert, row)

    def position(self, shard: str) -> Position:
        with self.guarded.connect(shard) as connection:
            query = "SELECT timeline_id, pg_current_wal_lsn()::text FROM pg_control_checkpoint()"
            row: Any = connection.execute(query).fetchone()
        return Position(row[0], parse_lsn(row[1]))

    def ids(self, shard: str) -> set[int]:
        """Return the ids of the orders on a shard."""
        with self.guarded.connect(shard) as connection:
            found: Iterable[Any] = connection.execute("SELECT id FROM orders").fetchall()
        return {row[0] for row in found}

    # Routers

    def routers(self) -> list[LiveRouter]:
        return list(self.store.routers())

    def wait_served(self) -> None:
        """Wait until every router serves the topology that was published last."""
        eventually(lambda: all(r.epoch >= self.topology.epoch for r in self.routers()))

    def are_writers_drained(self) -> bool:
        return all(r.writers_drained_epoch >= self.topology.epoch for r in self.routers())

    def are_readers_drained(self) -> bool:
        return all(r.drained_epoch >= self.topology.epoch for r in self.routers())


@contextmanager
def hand_over_on(cluster: Cluster) -> Iterator[HandOver]:
    """Make the guarded table on both shards of the cluster, and publish it."""
    topology = cluster.topology.next(tables=(ORDERS,))
    engines = {
        shard: create_engine(
            cluster.dsn(f"{shard}-p").replace("postgresql://", "postgresql+psycopg://"),
            poolclass=NullPool,
        )
        for shard in (SOURCE, TARGET)
    }
    guarded = Guarded(cluster, topology, dict(engines))
    catalog = catalog_engine(cluster.catalog_dsn)
    try:
        for shard in engines:
            with guarded.connect(shard) as connection:
                connection.execute(CREATE_ORDERS)
            guarded.install(topology, shard)
        store = CatalogStore(catalog)
        store.publish(topology, expected=Epoch(1), actor="tests", reason="a table")
        yield HandOver(guarded, store)
    finally:
        for engine in (catalog, *engines.values()):
            engine.dispose()
