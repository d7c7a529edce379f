"""Words: ids, nodes, shards, slots, the ring and the topology. Values in, values out."""

from shardrouter.topology.ids import (
    DEFAULT_SLOTS,
    Epoch,
    NodeId,
    ShardId,
    Slot,
    is_valid_name,
    is_valid_slot_count,
)
from shardrouter.topology.marks import MARK_KEY, TableMark, mark_of
from shardrouter.topology.node import Node, Role
from shardrouter.topology.position import Position, format_lsn, parse_lsn
from shardrouter.topology.shard import Shard
from shardrouter.topology.snapshot import Topology
from shardrouter.topology.table import KeyColumn, KeyType, Table, TableKind

__all__ = [
    "DEFAULT_SLOTS",
    "MARK_KEY",
    "Epoch",
    "KeyColumn",
    "KeyType",
    "Node",
    "NodeId",
    "Position",
    "Role",
    "Shard",
    "ShardId",
    "Slot",
    "Table",
    "TableKind",
    "TableMark",
    "Topology",
    "format_lsn",
    "is_valid_name",
    "is_valid_slot_count",
    "mark_of",
    "parse_lsn",
]
