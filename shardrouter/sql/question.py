"""The question that a shard answers about the types and collations in a statement."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Select, literal_column, select, true

from shardrouter.routing.merge import SETTINGS_SQL, ColumnFacts, facts_sql, read_facts
from shardrouter.sql.select_parts import as_subquery


def facts_question(typed: Select[Any], names: Sequence[str]) -> Select[Any]:
    """Return a SELECT of one row: the settings, then the facts of each named column of ``typed``.

    ``typed`` is never run: the row is there even when its tables are empty.
    """
    one = select(literal_column("1").label("sr_one")).subquery("sr_o")
    rows = as_subquery(typed.limit(literal_column("0")), "sr_p")
    facts: list[Any] = [literal_column(facts_sql(f"sr_p.{name}")) for name in names]
    source = one.outerjoin(rows, true())
    return select(literal_column(SETTINGS_SQL), *facts).select_from(source)


def read_answer(row: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, str], list[ColumnFacts]]:
    """Return the settings and facts of one shard. Raises CrossShardUnsupported."""
    return row[0], [read_facts(answer) for answer in row[1:]]
