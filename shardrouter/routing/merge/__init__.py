"""Merge the rows of several shards into those that one Postgres would return.

Knows nothing of SQLAlchemy: rows, type OIDs and SQL text only.
"""

from shardrouter.routing.merge.facts import (
    REPORTED_SETTINGS,
    SETTINGS_SQL,
    ColumnFacts,
    agree,
    check_settings,
    facts_sql,
    read_facts,
)
from shardrouter.routing.merge.finish import (
    AGGREGATES,
    Aggregate,
    column_name,
    order_sql,
    source_sql,
)
from shardrouter.routing.merge.rows import OrderKey, keeps_runs, order_natively, window
from shardrouter.routing.merge.types import TEXT, SortKey, sort_key

__all__ = [
    "AGGREGATES",
    "REPORTED_SETTINGS",
    "SETTINGS_SQL",
    "TEXT",
    "Aggregate",
    "ColumnFacts",
    "OrderKey",
    "SortKey",
    "agree",
    "check_settings",
    "column_name",
    "facts_sql",
    "keeps_runs",
    "order_natively",
    "order_sql",
    "read_facts",
    "sort_key",
    "source_sql",
    "window",
]
