"""Put the rows of several shards in the one order that ORDER BY asks for.

Pure: values in, positions out. A position counts through the rows of all shards, shard by shard.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from shardrouter.routing.merge.types import SortKey


@dataclass(frozen=True, slots=True)
class OrderKey:
    """Direction of one ORDER BY element."""

    descending: bool
    nulls_first: bool

    def to_sql(self) -> str:
        """Return the words behind the element, in full."""
        direction = "DESC" if self.descending else "ASC"
        return f"{direction} NULLS {'FIRST' if self.nulls_first else 'LAST'}"


def order_natively(
    columns: Sequence[Sequence[object]], keys: Sequence[OrderKey], sort_keys: Sequence[SortKey]
) -> list[int]:
    """Return the positions of the rows in order; ties keep the order they came in.

    ``columns`` holds the values of each key, most significant key first.
    """
    order = list(range(len(columns[0])))
    # Python's sort is stable: sorting by the least significant key first sorts by all of them.
    for values, key, sort_key in reversed(list(zip(columns, keys, sort_keys, strict=True))):
        null_is_greater = key.nulls_first == key.descending
        present, absent = (0, 1) if null_is_greater else (1, 0)
        ranks = [(absent, 0) if v is None else (present, sort_key(v)) for v in values]
        order.sort(key=ranks.__getitem__, reverse=key.descending)
    return order


def keeps_runs(order: Sequence[int], lengths: Sequence[int]) -> bool:
    """True when the order leaves the rows of each shard in the order they came in.

    Each shard sorts its own rows, so anything else means that it sorts differently than we think:
    another collation, other enum labels, or a type changed since they were looked up.
    """
    ends = list(accumulate(lengths))
    last = [-1] * len(ends)
    for position in order:
        shard = 0
        while position >= ends[shard]:
            shard += 1
        if position < last[shard]:
            return False
        last[shard] = position
    return True


def window(total: int, offset: int, limit: int | None) -> slice:
    """Return the rows that OFFSET and LIMIT leave of ``total`` rows."""
    return slice(offset, total if limit is None else offset + limit)
