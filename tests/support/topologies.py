"""Small topologies for tests of the catalog; nobody connects to their nodes."""

from shardrouter.topology import Epoch, Node, NodeId, Role, Shard, ShardId, Topology


def small_topology(epoch: int = 1, slots: int = 64, shards: int = 2, dsn: str = "") -> Topology:
    """Return a topology of shards s0, s1, ... with a primary each."""
    names = [ShardId(f"s{i}") for i in range(shards)]
    return Topology(
        epoch=Epoch(epoch),
        shards=tuple(
            Shard(name, (Node(NodeId(f"{name}-p"), Role.PRIMARY, dsn or f"host={name}"),))
            for name in names
        ),
        owners=tuple(names[slot % shards] for slot in range(slots)),
    )
