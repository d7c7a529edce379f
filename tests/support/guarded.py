"""A guarded table on two shards, and keys of which we know the owner."""

from dataclasses import dataclass
from itertools import count

import psycopg
from sqlalchemy import Engine

from shardrouter.postgres import install_guards
from shardrouter.topology import KeyColumn, KeyType, ShardId, Table, TableKind, Topology, key_slot
from tests.support.cluster import Cluster

ORDERS = Table("orders", TableKind.SHARDED, (KeyColumn("user_id", KeyType.INT8),))
CREATE_ORDERS = (
    "CREATE TABLE orders (id bigint PRIMARY KEY, user_id bigint NOT NULL, note text DEFAULT '')"
)


@dataclass(frozen=True)
class Guarded:
    """Two shards with the table ``orders``, guarded."""

    cluster: Cluster
    topology: Topology
    engines: dict[str, Engine]

    def connect(self, shard: str = "s0") -> psycopg.Connection[tuple[object, ...]]:
        return self.cluster.connect(f"{shard}-p")

    def install(self, topology: Topology, shard: str = "s0", **options: object) -> None:
        with self.engines[shard].connect() as connection:
            install_guards(connection, topology, ShardId(shard), **options)

    def key_of(self, shard: str, number: int = 0) -> int:
        """Return the n-th int key whose slot the shard owns."""
        return keys_of(self.topology, shard, number + 1)[number]

    def without(self, shard: str, key: int) -> Topology:
        """Return the next topology, in which the shard does not own the key's slot any more."""
        other = next(s.id for s in self.topology.shards if s.id != shard)
        owners = list(self.topology.owners)
        owners[key_slot(key, self.topology.slots)] = other
        return self.topology.next(owners=tuple(owners))


def keys_of(topology: Topology, shard: str, many: int) -> list[int]:
    """Return int keys whose slots the shard owns."""
    found: list[int] = []
    for key in count(1):
        if topology.owner(key_slot(key, topology.slots)).id == shard:
            found.append(key)
        if len(found) == many:
            return found
    raise AssertionError("unreachable")
