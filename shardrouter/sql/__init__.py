"""SQL: what a statement needs to be answered over shards, and what it leaves in a session.

Values in, values out.
"""

from typing import TYPE_CHECKING

from shardrouter.lazy import lazy_names

if TYPE_CHECKING:
    from shardrouter.sql.effects import (
        LEAVES_SOMETHING,
        Begin,
        Deallocate,
        Discard,
        DiscardKind,
        Effect,
        Effects,
        Execute,
        Name,
        OwnSetting,
        Prepare,
        ResetAll,
        SettingVerb,
        Statement,
    )
    from shardrouter.sql.groups import GroupsScatter, GroupsSplit
    from shardrouter.sql.lexer import TokenKind, is_readable, tokens
    from shardrouter.sql.owned import OWNED, OwnRows, key_names
    from shardrouter.sql.plain import is_plain
    from shardrouter.sql.query import Query
    from shardrouter.sql.question import read_answer
    from shardrouter.sql.rows import ROW_BOUND, RowsScatter, RowsSplit
    from shardrouter.sql.select_parts import ResultColumn, cache_key, without_options
    from shardrouter.sql.session_effects import effects_of
    from shardrouter.sql.session_inspection import (
        DISCARD_SQL,
        Residue,
        inspection_sql,
        read_inspection,
        sync_sql,
    )
    from shardrouter.sql.split import OneShardSplit, Split

__all__ = [
    "DISCARD_SQL",
    "LEAVES_SOMETHING",
    "OWNED",
    "ROW_BOUND",
    "Begin",
    "Deallocate",
    "Discard",
    "DiscardKind",
    "Effect",
    "Effects",
    "Execute",
    "GroupsScatter",
    "GroupsSplit",
    "Name",
    "OneShardSplit",
    "OwnRows",
    "OwnSetting",
    "Prepare",
    "Query",
    "ResetAll",
    "Residue",
    "ResultColumn",
    "RowsScatter",
    "RowsSplit",
    "SettingVerb",
    "Split",
    "Statement",
    "TokenKind",
    "cache_key",
    "effects_of",
    "inspection_sql",
    "is_plain",
    "is_readable",
    "key_names",
    "read_answer",
    "read_inspection",
    "sync_sql",
    "tokens",
    "without_options",
]

__getattr__ = lazy_names(
    __name__,
    {
        "shardrouter.sql.effects": (
            "LEAVES_SOMETHING",
            "Begin",
            "Deallocate",
            "Discard",
            "DiscardKind",
            "Effect",
            "Effects",
            "Execute",
            "Name",
            "OwnSetting",
            "Prepare",
            "ResetAll",
            "SettingVerb",
            "Statement",
        ),
        "shardrouter.sql.groups": (
            "GroupsScatter",
            "GroupsSplit",
        ),
        "shardrouter.sql.lexer": (
            "TokenKind",
            "is_readable",
            "tokens",
        ),
        "shardrouter.sql.owned": (
            "OWNED",
            "OwnRows",
            "key_names",
        ),
        "shardrouter.sql.plain": ("is_plain",),
        "shardrouter.sql.query": ("Query",),
        "shardrouter.sql.question": ("read_answer",),
        "shardrouter.sql.rows": (
            "ROW_BOUND",
            "RowsScatter",
            "RowsSplit",
        ),
        "shardrouter.sql.select_parts": (
            "ResultColumn",
            "cache_key",
            "without_options",
        ),
        "shardrouter.sql.session_effects": ("effects_of",),
        "shardrouter.sql.session_inspection": (
            "DISCARD_SQL",
            "Residue",
            "inspection_sql",
            "read_inspection",
            "sync_sql",
        ),
        "shardrouter.sql.split": (
            "OneShardSplit",
            "Split",
        ),
    },
)
