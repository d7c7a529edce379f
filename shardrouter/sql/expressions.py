"""Which expressions mean the same on each shard as on one Postgres that holds all rows.

Deny by default: an expression passes only when every node in it is of a kind that is evaluated
row by row, from nothing but the row and the parameters.
"""

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    Case,
    Cast,
    ClauseElement,
    Column,
    Exists,
    Extract,
    FunctionFilter,
    Label,
    Null,
    ScalarSelect,
    Tuple,
    TypeCoerce,
)
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.sql import elements, functions, operators
from sqlalchemy.sql.selectable import SelectBase

from shardrouter.routing.merge import AGGREGATES
from shardrouter.sql.builtins import (
    CLOCKS,
    FUNCTIONS,
    GROUPING_SETS,
    LOCAL_AGGREGATES,
    OPERATORS,
    VOLATILE,
)
from shardrouter.sql.owned import OwnSlot
from shardrouter.sql.refusal import refusal
from shardrouter.sql.select_parts import class_of

_NODES: Final = frozenset(
    {
        BindParameter,
        Case,
        Cast,
        Column,
        Extract,
        FunctionFilter,
        Label,
        Null,
        Tuple,
        TypeCoerce,
        array,
        elements.AsBoolean,
        elements.BinaryExpression,
        elements.BooleanClauseList,
        elements.ClauseList,
        elements.CollationClause,
        elements.CollectionAggregate,
        elements.ElementList,
        elements.ExpressionClauseList,
        elements.False_,
        elements.Grouping,
        elements.IndexExpression,
        elements.Slice,
        elements.True_,
        elements.TypeClause,
        elements.UnaryExpression,
        elements._label_reference,
        elements._textual_label_reference,
    }
)

_REFUSED: Final = {
    "textclause": ("text()", "its meaning is not known"),
    "tstring": ("a template string", "its meaning is not known"),
    "over": ("a window function (OVER)", "its window spans shards"),
    "withingroup": ("WITHIN GROUP", "it needs all values in one place"),
    "aggregateorderby": ("ORDER BY in an aggregate", "the order spans shards"),
    "aggregate_order_by": ("ORDER BY in an aggregate", "the order spans shards"),
}


def check_expression(element: ClauseElement, clause: str, *, whole_groups: bool = False) -> None:
    """Raise CrossShardUnsupported naming the node that is not evaluated row by row.

    ``whole_groups`` says that each group is whole on one shard, so that any aggregate is right.
    """
    for node in walk(element):
        kind = class_of(node)
        if kind is OwnSlot:
            continue  # our own, or the user's by it: evaluated row by row
        if issubclass(kind, functions.FunctionElement):
            _check_function(node, clause, whole_groups)
        elif kind not in _NODES:
            _refuse_node(node, clause)
        elif kind is FunctionFilter and not whole_groups and _is_distinct(node.func):
            raise refusal("FILTER on a DISTINCT aggregate", "the two cannot be combined")
        else:
            _check_operator(node, clause)


def walk(element: ClauseElement) -> Iterator[Any]:
    """Yield an expression and everything in it; the star of count(*) is left out."""
    pending: list[Any] = [element]
    while pending:
        node = pending.pop()
        if is_star(node):
            continue
        yield node
        pending.extend(node.get_children())


def is_star(node: Any) -> bool:
    """True for the star of count(*)."""
    return bool(getattr(node, "is_literal", False)) and node.name == "*"


def is_aggregate(node: Any) -> bool:
    """True for a call of an aggregate function that is known here."""
    return issubclass(class_of(node), functions.FunctionElement) and (
        node.name.lower() in AGGREGATES or node.name.lower() in LOCAL_AGGREGATES
    )


def distinct_argument(function: Any) -> Any | None:
    """Return the argument of an aggregate over DISTINCT values, or None."""
    for argument in function.clauses:
        inner = argument
        while class_of(inner) is elements.Grouping:
            inner = inner.element
        if class_of(inner) is elements.UnaryExpression and inner.operator is operators.distinct_op:
            return inner.element
    return None


def _is_distinct(function: Any) -> bool:
    return distinct_argument(function) is not None


def _check_function(node: Any, clause: str, whole_groups: bool) -> None:
    kind = class_of(node)
    name = str(node.name).lower()
    if not kind.__module__.startswith("sqlalchemy.") or not _is_built_in(node):
        raise refusal(f"{node.name}() in {clause}", "it is not one of Postgres' own functions")
    if name in CLOCKS:
        raise refusal(
            f"{node.name}() in {clause}",
            "each shard has its own clock",
            hint="pass the time as a value: one value for all shards",
        )
    if name in VOLATILE:
        raise refusal(f"{node.name}() in {clause}", "it gives another value on each shard")
    if name in GROUPING_SETS:
        raise refusal("ROLLUP, CUBE or GROUPING SETS", "its groups span shards at several levels")
    if name in LOCAL_AGGREGATES and not whole_groups:
        raise refusal(
            f"{node.name}() in {clause}",
            "it cannot be made of one value for each shard",
            hint="use count, sum, min, max or avg, or group by the shard key",
        )
    if name not in FUNCTIONS and name not in AGGREGATES and name not in LOCAL_AGGREGATES:
        raise refusal(
            f"{node.name}() in {clause}",
            "it is not known to depend on its arguments alone",
        )


def _is_built_in(node: Any) -> bool:
    return tuple(getattr(node, "packagenames", ())) in ((), ("pg_catalog",))


def _refuse_node(node: Any, clause: str) -> None:
    visit_name = node.__visit_name__
    if isinstance(node, SelectBase | ScalarSelect | Exists):
        raise refusal(f"a subquery in {clause}", "it would see the rows of one shard only")
    if getattr(node, "is_literal", False):
        raise refusal(f"literal SQL text in {clause}", "its meaning is not known")
    if visit_name == "column":
        raise refusal(
            f"the column {node.name!r} in {clause}",
            "it belongs to no table that is known",
            hint="use the columns of a Table or mapped class",
        )
    what, why = _REFUSED.get(visit_name, (type(node).__name__, "this construct is not known"))
    raise refusal(f"{what} in {clause}", why)


def _check_operator(node: Any, clause: str) -> None:
    for operator in (getattr(node, "operator", None), getattr(node, "modifier", None)):
        if isinstance(operator, operators.custom_op):
            words = " ".join(operator.opstring.upper().split())
            if words not in OPERATORS:
                raise refusal(
                    f"the operator {operator.opstring} in {clause}",
                    "it is not one of Postgres' own operators",
                )
