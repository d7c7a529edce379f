"""Words: ids, nodes, shards, slots, the ring and the topology. Values in, values out."""

from shardrouter.topology.hashing import int_slot
from shardrouter.topology.ids import (
    DEFAULT_SLOTS,
    Epoch,
    NodeId,
    ShardId,
    Slot,
    is_valid_name,
    is_valid_slot_count,
)
from shardrouter.topology.keys import infer_key_types, key_slot, slot_of
from shardrouter.topology.marks import MARK_KEY, TableMark, mark_of
from shardrouter.topology.node import Node, Role
from shardrouter.topology.placement import SlotMove, list_moves, plan_owners
from shardrouter.topology.position import Position, format_lsn, parse_lsn
from shardrouter.topology.shard import Shard
from shardrouter.topology.slot_sql import MAX_KEY_COLUMNS, slot_sql
from shardrouter.topology.snapshot import Topology
from shardrouter.topology.table import KeyColumn, KeyType, Table, TableKind

__all__ = [
    "DEFAULT_SLOTS",
    "MARK_KEY",
    "MAX_KEY_COLUMNS",
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
    "SlotMove",
    "Table",
    "TableKind",
    "TableMark",
    "Topology",
    "format_lsn",
    "infer_key_types",
    "int_slot",
    "is_valid_name",
    "is_valid_slot_count",
    "key_slot",
    "list_moves",
    "mark_of",
    "parse_lsn",
    "plan_owners",
    "slot_of",
    "slot_sql",
]
