"""SQL text with which a Postgres finishes a merge: it gets the shards' values back as arrays.

Pure. Values travel as text, which every type writes and reads without loss, so a merge in SQL
compares, adds and divides exactly as one Postgres that holds all rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from shardrouter.errors import CrossShardUnsupported
from shardrouter.routing.merge.facts import ColumnFacts
from shardrouter.routing.merge.rows import OrderKey

Place = Callable[[int], str]
"""The placeholder of the array of column ``i``, as the driver in use writes it."""

Combine = Callable[[Sequence[str], Sequence[ColumnFacts]], str]
"""SQL of the whole aggregate, from SQL and facts of the columns of its parts."""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """How an aggregate over all shards is made of aggregates of each shard."""

    parts: tuple[str, ...]
    """Aggregate functions that each shard runs over the same argument."""

    combine: Combine


def column_name(index: int) -> str:
    """Return the name of a column that travels, on the way there and back."""
    return f"sr_c{index}"


def source_sql(columns: Sequence[ColumnFacts], place: Place) -> str:
    """Return a SELECT that yields the columns, typed, from one text array each."""
    names = [column_name(i) for i in range(len(columns))]
    arrays = ", ".join(f"CAST({place(i)} AS text[])" for i in range(len(columns)))
    values = ", ".join(
        f"{_typed(f'u.{name}', facts)} AS {name}"
        for name, facts in zip(names, columns, strict=True)
    )
    return f"SELECT {values} FROM unnest({arrays}) AS u({', '.join(names)})"


def order_sql(columns: Sequence[ColumnFacts], keys: Sequence[OrderKey], place: Place) -> str:
    """Return a SELECT that yields the positions (from 0) of the rows, in order."""
    names = [column_name(i) for i in range(len(columns))]
    arrays = ", ".join(f"CAST({place(i)} AS text[])" for i in range(len(columns)))
    order = ", ".join(
        f"{_typed(f'u.{name}', facts)} {key.to_sql()}"
        for name, facts, key in zip(names, columns, keys, strict=True)
    )
    return (
        f"SELECT u.n - 1 FROM unnest({arrays}) WITH ORDINALITY AS u({', '.join(names)}, n) "
        f"ORDER BY {order}, u.n"
    )


def _typed(column: str, facts: ColumnFacts) -> str:
    typed = f"CAST({column} AS {facts.type_name})"
    return f"{typed} COLLATE {facts.collation}" if facts.collation else typed


def _same(name: str) -> Aggregate:
    return Aggregate((name,), lambda columns, _: f"{name}({columns[0]})")


def _count(columns: Sequence[str], _: Sequence[ColumnFacts]) -> str:
    return f"CAST(coalesce(sum({columns[0]}), 0) AS bigint)"


def _sum(columns: Sequence[str], facts: Sequence[ColumnFacts]) -> str:
    # sum of bigint is numeric, but these bigints are sums of integers: theirs is bigint.
    total = f"sum({columns[0]})"
    return f"CAST({total} AS bigint)" if facts[0].type_name == "bigint" else total


def _avg(columns: Sequence[str], facts: Sequence[ColumnFacts]) -> str:
    total, count = f"sum({columns[0]})", f"sum({columns[1]})"
    match facts[0].type_name:
        case "bigint" | "numeric":
            return f"({total} / {count})"
        case "double precision":
            # The final function itself: the division operator would refuse an underflow.
            state = f"ARRAY[CAST({count} AS float8), {total}, CAST(0 AS float8)]"
            return f"CASE WHEN {count} > 0 THEN pg_catalog.float8_avg({state}) END"
        case "interval":
            return f"({total} / CAST({count} AS float8))"
        case other:
            raise CrossShardUnsupported(
                f"avg of a sum of type {other} cannot be merged",
                hint="avg(real) adds in double precision: cast the argument to double precision",
            )


AGGREGATES: Final[Mapping[str, Aggregate]] = {
    "count": Aggregate(("count",), _count),
    "sum": Aggregate(("sum",), _sum),
    "avg": Aggregate(("sum", "count"), _avg),
    "min": _same("min"),
    "max": _same("max"),
    "bool_and": _same("bool_and"),
    "bool_or": _same("bool_or"),
    "every": _same("every"),
}
"""Aggregates that can be merged from parts."""
