"""Merge the rows of all shards by ORDER BY, then cut OFFSET and LIMIT."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Result

from shardrouter.client.gathering.ask import ShardRows
from shardrouter.client.gathering.run import Run
from shardrouter.errors import CrossShardUnsupported
from shardrouter.routing.merge import (
    ColumnFacts,
    SortKey,
    column_name,
    keeps_runs,
    order_natively,
    sort_key,
    window,
)
from shardrouter.sql import ROW_BOUND, RowsScatter, RowsSplit


def gather_rows(run: Run, how: RowsSplit, offset: int, limit: int | None) -> Result[Any]:
    """Return the merged rows. Raises CrossShardUnsupported, ScatterFailed."""
    for _ in range(2):  # once more with fresh facts when the shards do not act by the known ones
        merged = _try(run, how, offset, limit)
        if merged is not None:
            return merged
        run.plan.forget()
    raise CrossShardUnsupported(
        "the shards do not order their rows as their types and collations say",
        hint="compare the versions of the C and ICU libraries of the shards; reindex the tables",
    )


def _try(run: Run, how: RowsSplit, offset: int, limit: int | None) -> Result[Any] | None:
    asks = how.needs_facts or run.plan.must_ask
    facts = run.facts(how) if asks else None
    sort_keys = _sort_keys([(f.oid, f.bytewise) for f in facts]) if facts else None
    scatter = run.plan.rows(how, facts, as_text=facts is not None and sort_keys is None)
    most = run.limits.max_rows + 1
    bound = most if limit is None else min(offset + limit, most)
    answers = run.ask_all(scatter.statement, bound)
    lengths = [len(answer.rows) for answer in answers]
    order: Sequence[int] = range(sum(lengths))
    if scatter.keys:
        found = _order(run, scatter, sort_keys, answers)
        if found is None or not keeps_runs(found, lengths):
            return None
        order = found
    chosen = order[window(len(order), offset, limit)]
    return run.result(answers, chosen, scatter.statement, {ROW_BOUND: bound}, scatter.hidden)


def _order(
    run: Run,
    scatter: RowsScatter,
    sort_keys: Sequence[SortKey] | None,
    answers: Sequence[ShardRows],
) -> Sequence[int] | None:
    """Return the order of the rows, or None when types are not those that were expected."""
    are_instances = not answers[0].oids
    places = range(-len(scatter.keys), 0) if are_instances else scatter.positions
    columns = [[row[place] for answer in answers for row in answer.rows] for place in places]
    if sort_keys is None and scatter.facts is not None:
        return _order_in_postgres(run, scatter, scatter.facts, columns)
    oids = {tuple(a.oids[p] for p in places) for a in answers if a.oids}
    if scatter.facts is None:
        sort_keys = _sort_keys([(oid, False) for oid in oids.pop()]) if len(oids) == 1 else None
        if sort_keys is None:
            run.plan.must_ask = True
            return None
    elif oids and oids != {tuple(f.oid for f in scatter.facts)}:
        return None
    assert sort_keys is not None
    return order_natively(columns, scatter.keys, sort_keys)


def _order_in_postgres(
    run: Run,
    scatter: RowsScatter,
    facts: Sequence[ColumnFacts],
    columns: Sequence[Sequence[object]],
) -> Sequence[int]:
    sql = run.plan.order(scatter, facts)
    answer = run.ask_one(sql, {column_name(i): list(c) for i, c in enumerate(columns)})
    return [position for (position,) in answer.rows]


def _sort_keys(types: Sequence[tuple[int, bool]]) -> list[SortKey] | None:
    """Return how Python orders the types, or None when it cannot order one of them."""
    keys = [sort_key(oid, bytewise=bytewise) for oid, bytewise in types]
    return None if None in keys else [key for key in keys if key is not None]
