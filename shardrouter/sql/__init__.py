"""SQL: what a statement needs to be answered over shards. Values in, values out."""

from shardrouter.sql.groups import GroupsScatter, GroupsSplit
from shardrouter.sql.query import Query
from shardrouter.sql.question import read_answer
from shardrouter.sql.rows import ROW_BOUND, RowsScatter, RowsSplit
from shardrouter.sql.select_parts import ResultColumn, cache_key, without_options
from shardrouter.sql.split import OneShardSplit, Split, split

__all__ = [
    "ROW_BOUND",
    "GroupsScatter",
    "GroupsSplit",
    "OneShardSplit",
    "Query",
    "ResultColumn",
    "RowsScatter",
    "RowsSplit",
    "Split",
    "cache_key",
    "read_answer",
    "split",
    "without_options",
]
