"""Words: ids, nodes, shards, slots, the ring and the topology. Values in, values out."""

from shardrouter.topology.ids import DEFAULT_SLOTS, Epoch, NodeId, ShardId, Slot
from shardrouter.topology.node import Node, Role
from shardrouter.topology.shard import Shard
from shardrouter.topology.snapshot import Topology
from shardrouter.topology.table import KeyColumn, KeyType, Table, TableKind

__all__ = [
    "DEFAULT_SLOTS",
    "Epoch",
    "KeyColumn",
    "KeyType",
    "Node",
    "NodeId",
    "Role",
    "Shard",
    "ShardId",
    "Slot",
    "Table",
    "TableKind",
    "Topology",
]
