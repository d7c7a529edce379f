"""Split a SELECT with aggregates, GROUP BY or DISTINCT: shards make parts, a Postgres finishes.

Each shard aggregates its own rows into parts. The parts come back to one Postgres, which runs the
statement's own select list, HAVING, ORDER BY and LIMIT over them, each aggregate replaced by the
one that combines its parts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    REAL,
    BigInteger,
    BindParameter,
    Column,
    ColumnElement,
    Double,
    FunctionFilter,
    Select,
    Text,
    bindparam,
    cast,
    column,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.sql.visitors import replacement_traverse

from shardrouter.routing.merge import (
    AGGREGATES,
    TEXT,
    Aggregate,
    ColumnFacts,
    OrderKey,
    column_name,
    source_sql,
)
from shardrouter.sql.expressions import distinct_argument, is_aggregate, is_star, walk
from shardrouter.sql.matching import index_of
from shardrouter.sql.question import facts_question
from shardrouter.sql.refusal import refusal
from shardrouter.sql.rows import ROW_BOUND, check_distinct_order
from shardrouter.sql.select_parts import Parts, as_subquery, bare, class_of, is_rewritten, plain

_SOURCE = "sr_p"


@dataclass(frozen=True, slots=True)
class GroupsScatter:
    """What each shard is asked, and what one Postgres then makes of all parts."""

    statement: Select[Any]
    finish: Select[Any]
    """Takes the columns of the parts as parameters, one array each, named by ``column_name``."""

    width: int
    """Columns of a part."""


@dataclass(frozen=True, slots=True)
class _Call:
    """One aggregate call of the statement and the parts it is made of."""

    aggregate: Aggregate | None
    """None for an aggregate over DISTINCT values, which is run as it is over the values."""

    name: str
    places: tuple[int, ...]


@dataclass(slots=True)
class _Shipment:
    """The columns that travel, and what they stand for."""

    columns: list[ColumnElement[Any]]
    groups: int
    """The first columns are the GROUP BY (or DISTINCT) expressions."""

    key_count: int
    """Columns the shards group by: the groups and the arguments of DISTINCT aggregates."""

    calls: dict[int, _Call] = field(default_factory=dict)
    """By the identity of the call's node, which lives as long as the statement."""


@dataclass(frozen=True, slots=True)
class GroupsSplit:
    """A SELECT whose groups span shards."""

    statement: Select[Any]
    parts: Parts
    order_places: tuple[int | None, ...]
    shipment: _Shipment
    is_grouped: bool
    """False for a plain DISTINCT."""

    def question(self) -> Select[Any]:
        """Return the question about the types of the columns that travel."""
        return facts_question(self.typed(), self._names())

    def scatter(self, facts: Sequence[ColumnFacts]) -> GroupsScatter:
        """Return what to send and how to finish. Raises CrossShardUnsupported."""
        inner = as_subquery(self.typed(), "sr_d")
        values = [
            inner.c[name] if known.oid in TEXT else cast(inner.c[name], Text).label(name)
            for name, known in zip(self._names(), facts, strict=True)
        ]
        return GroupsScatter(select(*values), self._finish(facts), len(facts))

    def row_bound(self, offset: int, limit: int | None, most: int) -> int:
        """Return how many rows of a shard may matter; ``most`` when all of them do."""
        return most if self.is_grouped or limit is None else offset + limit

    def _names(self) -> list[str]:
        return [column_name(i) for i in range(len(self.shipment.columns))]

    def typed(self) -> Select[Any]:
        """Return what a shard is asked, before its values are made text."""
        labelled = [
            plain(value).label(name)
            for value, name in zip(self.shipment.columns, self._names(), strict=True)
        ]
        typed = bare(self.statement).with_only_columns(*labelled, maintain_column_froms=True)
        bound = bindparam(ROW_BOUND, type_=BigInteger())
        if self.is_grouped:
            keys = self._names()[: self.shipment.key_count]
            return typed.group_by(*map(literal_column, keys)).limit(bound)
        typed = typed.distinct()
        if self.parts.limit is not None:
            # The first rows of all shards are among the first rows of each.
            typed = typed.order_by(*self._order(lambda expression: expression))
        return typed.limit(bound)

    def _finish(self, facts: Sequence[ColumnFacts]) -> Select[Any]:
        source = self._source(facts)
        finished = _Finisher(self.shipment, facts, source)
        columns = [
            finished(plain(item)).label(f"sr_r{i}") for i, item in enumerate(self.parts.columns)
        ]
        finish: Select[Any] = select(*columns).select_from(source)
        if self.is_grouped:
            finish = finish.group_by(*list(source.c)[: self.shipment.groups])
            finish = finish.having(*[finished(condition) for condition in self.parts.having])
        if self.parts.distinct:
            finish = finish.distinct()
        finish = finish.order_by(*self._order(finished))
        return finish.limit(self.parts.limit).offset(self.parts.offset)

    def _source(self, facts: Sequence[ColumnFacts]) -> Any:
        sql = source_sql(facts, lambda i: f":{column_name(i)}")
        columns = [
            column(name, value.type)
            for name, value in zip(self._names(), self.shipment.columns, strict=True)
        ]
        return text(sql).columns(*columns).subquery(_SOURCE)

    def _order(self, finished: Callable[[Any], Any]) -> list[Any]:
        return [
            _directed(
                finished(plain(element.expression))
                if place is None
                else literal_column(str(place + 1)),  # SQL counts the select list from 1
                element.key,
            )
            for element, place in zip(self.parts.order_by, self.order_places, strict=True)
        ]


def split_groups(statement: Select[Any], parts: Parts, *, is_grouped: bool) -> GroupsSplit:
    """Return the split. Raises CrossShardUnsupported for what is neither grouped nor aggregated."""
    places = tuple(index_of(element.expression, parts.columns) for element in parts.order_by)
    if parts.distinct:
        check_distinct_order(parts.order_by, places)
    groups = list(parts.group_by) if is_grouped else list(parts.columns)
    shipment = _Shipment(groups, len(groups), len(groups))
    outputs = [*parts.columns, *(e.expression for e in parts.order_by), *parts.having]
    calls = [call for output in outputs for call in _calls(output, groups[:])]
    for call in calls:
        _ship_distinct(call, shipment)
    shipment.key_count = len(shipment.columns)
    for call in calls:
        _ship_parts(call, shipment)
    for column_sent in shipment.columns:
        if is_rewritten(column_sent):
            raise refusal(
                f"{column_sent} in GROUP BY, DISTINCT or an aggregate",
                "its type has a column_expression()",
            )
    return GroupsSplit(statement, parts, places, shipment, is_grouped)


class _Finisher:
    """Rewrites an expression over rows into one over parts."""

    def __init__(self, shipment: _Shipment, facts: Sequence[ColumnFacts], source: Any) -> None:
        self._shipment = shipment
        self._facts = facts
        self._columns = list(source.c)

    def __call__(self, expression: Any) -> Any:
        replace: Any = self._replace
        finished: Any = replacement_traverse(expression, {}, replace)
        strays = [n for n in walk(finished) if class_of(n) is Column]
        if strays:
            raise _not_grouped(strays[0])
        return finished

    def _replace(self, node: Any, **_: Any) -> Any:
        if isinstance(node, BindParameter):
            return node  # a copy would lose its name, and with it the value of the next run
        place = index_of(node, self._shipment.columns[: self._shipment.groups])
        if place is not None:
            return self._columns[place]
        call = self._shipment.calls.get(id(node))
        if call is None:
            return None
        names = [f"{_SOURCE}.{column_name(i)}" for i in call.places]
        if call.aggregate is None:
            sql = f"{call.name}(DISTINCT {names[0]})"
        else:
            sql = call.aggregate.combine(names, [self._facts[i] for i in call.places])
        return literal_column(f"({sql})", type_=node.type)


def _calls(expression: Any, groups: Sequence[Any]) -> list[Any]:
    """Return the aggregate calls in an expression; refuse columns outside them and the groups."""
    found: list[Any] = []
    pending = [expression]
    while pending:
        node = pending.pop()
        if is_star(node) or index_of(node, groups) is not None:
            continue
        if is_aggregate(_function_of(node)):
            found.append(node)
            continue
        if class_of(node) is Column:
            raise _not_grouped(node)
        pending.extend(node.get_children())
    return found


def _ship_distinct(call: Any, shipment: _Shipment) -> None:
    function = _function_of(call)
    argument = distinct_argument(function)
    if argument is None:
        return
    if len(list(function.clauses)) != 1:
        raise refusal(f"{function.name}(DISTINCT ...) of several values", "it takes one value")
    place = index_of(argument, shipment.columns)
    if place is None:
        place = len(shipment.columns)
        shipment.columns.append(argument)
    shipment.calls[id(call)] = _Call(None, function.name, (place,))


def _ship_parts(call: Any, shipment: _Shipment) -> None:
    if id(call) in shipment.calls:
        return
    function = _function_of(call)
    aggregate = AGGREGATES[function.name.lower()]
    places: list[int] = []
    for name in aggregate.parts:
        places.append(len(shipment.columns))
        shipment.columns.append(_part(name, function, call))
    shipment.calls[id(call)] = _Call(aggregate, function.name, tuple(places))


def _part(name: str, function: Any, call: Any) -> ColumnElement[Any]:
    arguments = list(function.clauses)
    if function.name.lower() == "avg" and name == "sum" and isinstance(arguments[0].type, REAL):
        arguments = [cast(arguments[0], Double)]  # avg adds real values in double precision
    part: Any = getattr(func, name)(*arguments)
    whole: ColumnElement[Any] = (
        part.filter(call.criterion) if class_of(call) is FunctionFilter else part
    )
    return whole


def _function_of(node: Any) -> Any:
    return node.func if class_of(node) is FunctionFilter else node


def _directed(expression: Any, key: OrderKey) -> Any:
    directed = expression.desc() if key.descending else expression.asc()
    return directed.nulls_first() if key.nulls_first else directed.nulls_last()


def _not_grouped(node: Any) -> Exception:
    return refusal(
        f"column {node.name}",
        "it is neither grouped nor aggregated",
        hint="add it to group_by(); for an expression with a value in it, label it once and "
        "give the label to both select() and group_by()",
    )
