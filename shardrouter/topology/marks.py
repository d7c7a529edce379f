"""The mark on a SQLAlchemy table that says how it is spread over the shards.

A plain value kept in ``Table.info``: models put it there, routing and gathering read it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from shardrouter.topology.table import TableKind

MARK_KEY: Final = "shardrouter"
"""The key in ``Table.info`` under which the mark stands."""


@dataclass(frozen=True, slots=True)
class TableMark:
    """How one table is spread."""

    kind: TableKind
    by: tuple[str, ...] = ()
    """Names of the key columns in hashing order; only of sharded tables."""

    shard: str | None = None
    """The one shard that holds a local table."""


def mark_of(info: Mapping[Any, Any]) -> TableMark | None:
    """Return the mark in a table's ``info``, or None for a table that has none."""
    mark = info.get(MARK_KEY)
    return mark if isinstance(mark, TableMark) else None
