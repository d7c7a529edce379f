"""Words: ids, nodes, shards, slots, the ring and the topology. Values in, values out."""

from shardrouter.topology.column_types import key_type_of_column
from shardrouter.topology.fading_counts import HALF_LIFE_SECONDS, FadingCounts
from shardrouter.topology.folding import folding_warning
from shardrouter.topology.hashing import int_slot
from shardrouter.topology.id_layout import IdLayout, slot_of_id, time_of_id
from shardrouter.topology.ids import (
    DEFAULT_SLOTS,
    Epoch,
    NodeId,
    ShardId,
    Slot,
    is_valid_name,
    is_valid_slot_count,
)
from shardrouter.topology.key_text import parse_key
from shardrouter.topology.keys import infer_key_types, key_slot, slot_of
from shardrouter.topology.load import LoadPlan, plan_load
from shardrouter.topology.marks import MARK_KEY, TableMark, mark_of
from shardrouter.topology.motion import Floors, Motion, SlotsInMotion
from shardrouter.topology.move import (
    CUTTING_OVER,
    OVER,
    POINT_OF_NO_RETURN,
    STATES,
    Direction,
    MoveState,
    StateFacts,
    Wish,
    may_abort,
    may_follow,
    may_wish,
)
from shardrouter.topology.node import Node, Role
from shardrouter.topology.placement import SlotMove, list_moves, plan_owners
from shardrouter.topology.position import Position, format_lsn, parse_lsn
from shardrouter.topology.shard import Shard
from shardrouter.topology.slot_ranges import slot_ranges, slots_of_ranges
from shardrouter.topology.slot_sql import MAX_KEY_COLUMNS, slot_sql, slot_sql_of
from shardrouter.topology.snapshot import Topology
from shardrouter.topology.table import KeyColumn, KeyType, Table, TableKind

__all__ = [
    "CUTTING_OVER",
    "DEFAULT_SLOTS",
    "HALF_LIFE_SECONDS",
    "MARK_KEY",
    "MAX_KEY_COLUMNS",
    "OVER",
    "POINT_OF_NO_RETURN",
    "STATES",
    "Direction",
    "Epoch",
    "FadingCounts",
    "Floors",
    "IdLayout",
    "KeyColumn",
    "KeyType",
    "LoadPlan",
    "Motion",
    "MoveState",
    "Node",
    "NodeId",
    "Position",
    "Role",
    "Shard",
    "ShardId",
    "Slot",
    "SlotMove",
    "SlotsInMotion",
    "StateFacts",
    "Table",
    "TableKind",
    "TableMark",
    "Topology",
    "Wish",
    "folding_warning",
    "format_lsn",
    "infer_key_types",
    "int_slot",
    "is_valid_name",
    "is_valid_slot_count",
    "key_slot",
    "key_type_of_column",
    "list_moves",
    "mark_of",
    "may_abort",
    "may_follow",
    "may_wish",
    "parse_key",
    "parse_lsn",
    "plan_load",
    "plan_owners",
    "slot_of",
    "slot_of_id",
    "slot_ranges",
    "slot_sql",
    "slot_sql_of",
    "slots_of_ranges",
    "time_of_id",
]
