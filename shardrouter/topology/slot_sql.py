"""The slot of a row as a SQL expression that Postgres evaluates to the same number as ``keys``.

Only built-in immutable functions and operators: usable in guards, expression indexes, generated
columns and the row filters of publications.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from psycopg.sql import Identifier

from shardrouter.errors import UnsupportedSchema
from shardrouter.topology.ids import is_valid_slot_count
from shardrouter.topology.table import KeyColumn, KeyType

MAX_KEY_COLUMNS: Final = 4  # the expression doubles with each column

_SEED: Final = 0x7A5B22367996DCFD  # HASH_PARTITION_SEED
_COMBINE: Final = 0x49A0F4DD15E5A8E3  # what hash_combine64 adds to each column hash

# timestamptz has no function of its own before Postgres 18, and its plain cast to timestamp is
# not immutable; AT TIME ZONE 'UTC' is, and keeps the microseconds. A date likewise has only the
# number of its day.
_HASH_CALLS: Final[Mapping[KeyType, str]] = {
    KeyType.INT2: "hashint2extended({column}, {seed})",
    KeyType.INT4: "hashint4extended({column}, {seed})",
    KeyType.INT8: "hashint8extended({column}, {seed})",
    KeyType.TEXT: "hashtextextended({column}, {seed})",
    KeyType.VARCHAR: "hashtextextended({column}, {seed})",
    KeyType.UUID: "uuid_hash_extended({column}, {seed})",
    KeyType.DATE: "hashint4extended(({column} - DATE '2000-01-01'), {seed})",
    KeyType.TIMESTAMP: "timestamp_hash_extended({column}, {seed})",
    KeyType.TIMESTAMPTZ: "timestamp_hash_extended(({column} AT TIME ZONE 'UTC'), {seed})",
}


def slot_sql(columns: Sequence[KeyColumn], slots: int, prefix: str = "") -> str:
    """Return a SQL expression of type bigint: the slot of a row, NULL when a key column is NULL.

    ``prefix`` stands before each quoted column name, for example ``NEW.``; it is our own text,
    never a user's. Raises UnsupportedSchema for no or too many columns.
    """
    named = [(prefix + Identifier(column.name).as_string(None), column.type) for column in columns]
    return slot_sql_of(named, slots)


def slot_sql_of(values: Sequence[tuple[str, KeyType]], slots: int) -> str:
    """Return the same of key values that are SQL expressions, each with its type."""
    if not is_valid_slot_count(slots):
        raise ValueError(f"{slots} slots is not a power of two from 16 to 16384")
    if not 1 <= len(values) <= MAX_KEY_COLUMNS:
        raise UnsupportedSchema(
            f"a shard key has 1 to {MAX_KEY_COLUMNS} columns, not {len(values)}",
            hint="leave out the columns that the rows of one entity do not share",
        )
    first, *others = values
    # A row hash takes bits from 7 places further up of the one before it, so that the last
    # column needs log2(slots) bits and each one before 7 more; masked so, no sum overflows.
    mask = (slots << 7 * len(others)) - 1
    row = f"((({_hash_call(*first)} & {mask}) + {_COMBINE & mask}) & {mask})"
    for value in others:
        mask >>= 7
        mixed = f"({_hash_call(*value)} & {mask}) + {_COMBINE & mask} + ({row} >> 7)"
        row = f"(({row} # ({mixed})) & {mask})"
    return row


def _hash_call(value: str, key_type: KeyType) -> str:
    return _HASH_CALLS[key_type].format(column=value, seed=_SEED)
