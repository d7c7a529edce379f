"""Decide how a SELECT is answered over shards, or refuse it naming the clause.

Pure: a SQLAlchemy statement in, a split out. The tables say by their marks how they are spread.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import BigInteger, BindParameter, CompoundSelect, Select, TextClause, bindparam
from sqlalchemy.orm import ColumnProperty
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.lambdas import StatementLambdaElement
from sqlalchemy.sql.selectable import TextualSelect

from shardrouter.sql.colocation import Placement, column_ref, join_conditions, placement_of
from shardrouter.sql.expressions import check_expression, is_aggregate, walk
from shardrouter.sql.groups import GroupsSplit, split_groups
from shardrouter.sql.owned import NO_SCHEMAS, OWNED, OwnRows, Schemas
from shardrouter.sql.refusal import refusal
from shardrouter.sql.rows import ROW_BOUND, RowsSplit, split_rows
from shardrouter.sql.select_parts import (
    Expanded,
    Parts,
    ResultColumn,
    expand,
    plain,
    read_parts,
    sees_same_rows,
    sees_same_tables,
)


@dataclass(frozen=True, slots=True)
class OneShardSplit:
    """A SELECT that one shard answers whole."""

    statement: Select[Any]
    shard: str | None
    """None when any shard does."""


@dataclass(frozen=True, slots=True)
class Split:
    """How one statement is answered."""

    how: OneShardSplit | RowsSplit | GroupsSplit
    result: tuple[ResultColumn, ...]
    has_entities: bool
    """Rows hold instances of mapped classes."""

    is_one_table: bool
    """FROM is one table, without a join."""

    limit: BindParameter[Any] | None
    offset: BindParameter[Any] | None
    is_reusable: bool
    """True when the same split serves the statement with other values."""


def split(
    statement: Any,
    bind_keys: Iterable[str],
    own: OwnRows | None = None,
    schemas: Schemas = NO_SCHEMAS,
) -> Split:
    """Return how to answer a statement. Raises CrossShardUnsupported naming the clause.

    ``bind_keys`` names the parameters by which its values can be given anew. With ``own`` the
    shards leave out rows that are not their own: they are told by the parameter ``OWNED``.
    """
    if not isinstance(statement, Select):
        raise _not_a_select(statement)
    parts = read_parts(statement)
    expanded = expand(statement)
    if expanded.loads_collections:
        raise refusal(
            "joined eager loading of a collection",
            "its rows multiply those of the statement",
            hint='add .options(lazyload("*")) and load the collections in keyed sessions',
        )
    sent = read_parts(expanded.statement)
    placement = placement_of(expanded.froms, sent.where)
    if own is not None and placement.is_spread:
        owned = statement.where(own.condition(placement.told_by, schemas))
        if not sees_same_tables(expand(owned), expanded):
            raise _changes_from("rows that are on their way to another shard are left out")
        return split(owned, (*bind_keys, OWNED))
    whole_groups = _has_whole_groups(sent, placement)
    _check(expanded, sent, whole_groups)
    result, has_entities = _result(statement, parts, expanded)
    how = _choose(statement, parts, sent, placement, whole_groups, has_entities)
    probe = expand(_probe(how))
    if not sees_same_rows(probe, expanded):
        raise _changes_from("the statement is split over the shards")
    return Split(
        how=how,
        result=result,
        has_entities=has_entities,
        is_one_table=len(expanded.froms) == 1 and not list(join_conditions(expanded.froms)),
        limit=parts.limit,
        offset=parts.offset,
        is_reusable=probe.bind_keys <= {*bind_keys, ROW_BOUND},
    )


def _choose(
    statement: Select[Any],
    parts: Parts,
    sent: Parts,
    placement: Placement,
    whole_groups: bool,
    has_entities: bool,
) -> OneShardSplit | RowsSplit | GroupsSplit:
    if not placement.is_spread:
        return OneShardSplit(_bounded(statement, parts), placement.shard)
    is_grouped = _is_grouped(sent)
    if is_grouped and not whole_groups:
        if has_entities:
            raise refusal("GROUP BY with mapped classes", "select their columns instead")
        return split_groups(statement, parts, is_grouped=True)
    if parts.distinct and not has_entities:
        return split_groups(statement, parts, is_grouped=is_grouped)
    if parts.distinct and not _holds_key(sent.columns, placement):
        raise refusal("DISTINCT with mapped classes", "the shard key is not in the select list")
    return split_rows(statement, parts, has_entities=has_entities)


def _bounded(statement: Select[Any], parts: Parts) -> Select[Any]:
    """Return the statement with a bound on its rows where it has no LIMIT of its own."""
    if parts.limit is not None:
        return statement
    return statement.limit(bindparam(ROW_BOUND, type_=BigInteger()))


def _probe(how: OneShardSplit | RowsSplit | GroupsSplit) -> Select[Any]:
    match how:
        case OneShardSplit():
            return how.statement
        case RowsSplit():
            return how.scatter(None, as_text=False).statement
        case GroupsSplit():
            return how.typed()


def _check(expanded: Expanded, sent: Parts, whole_groups: bool) -> None:
    clauses: Sequence[tuple[str, Iterable[Any]]] = (
        ("the select list", sent.columns),
        ("WHERE", sent.where),
        ("JOIN ON", join_conditions(expanded.froms)),
        ("GROUP BY", sent.group_by),
        ("HAVING", sent.having),
        ("ORDER BY", [element.expression for element in sent.order_by]),
    )
    for clause, expressions in clauses:
        for expression in expressions:
            check_expression(expression, clause, whole_groups=whole_groups)


def _is_grouped(sent: Parts) -> bool:
    outputs = [*sent.columns, *(element.expression for element in sent.order_by)]
    return bool(sent.group_by or sent.having) or any(
        is_aggregate(node) for output in outputs for node in walk(output)
    )


def _has_whole_groups(sent: Parts, placement: Placement) -> bool:
    return not sent.distinct and _holds_key(sent.group_by, placement)


def _holds_key(expressions: Sequence[Any], placement: Placement) -> bool:
    """True when the expressions hold all key columns of a table that tells the row's shard."""
    columns = {column_ref(plain(expression)) for expression in expressions}
    return any(columns.issuperset(anchor.columns()) for anchor in placement.anchors)


def _result(
    statement: Select[Any], parts: Parts, expanded: Expanded
) -> tuple[tuple[ResultColumn, ...], bool]:
    """Return the result's columns and whether some are mapped classes."""
    described = statement.column_descriptions
    if any(_is_entity(item) for item in described):
        columns = tuple(
            ResultColumn(item["name"], (item["expr"],), item["type"]) for item in described
        )
        return columns, True
    # A bundle or a composite attribute: SQLAlchemy makes one value of several columns.
    is_plain = all(_is_column(item) for item in described)
    if not is_plain or not len(described) == len(expanded.columns) == len(parts.columns):
        raise refusal(
            "the select list", "it holds more than columns, expressions and mapped classes"
        )
    columns = tuple(
        replace(column, lookups=(*column.lookups, item["expr"]))
        for column, item in zip(expanded.columns, described, strict=True)
    )
    return columns, False


def _is_entity(item: Any) -> bool:
    return item.get("entity") is not None and item["expr"] is item["entity"]


def _is_column(item: Any) -> bool:
    prop = getattr(item["expr"], "property", None)
    return not getattr(item["expr"], "is_bundle", False) and (
        prop is None or isinstance(prop, ColumnProperty)
    )


def _changes_from(when: str) -> Exception:
    return refusal("this FROM", f"it changes when {when}")


def _not_a_select(statement: Any) -> Exception:
    match statement:
        case TextClause() | TextualSelect():
            what = "text()"
        case CompoundSelect():
            what = "UNION, INTERSECT or EXCEPT"
        case UpdateBase():
            what = type(statement).__name__.upper()
        case StatementLambdaElement():
            what = "lambda_stmt()"
        case _:
            what = type(statement).__name__
    return refusal(what, "it takes a select()", hint="give it a select() of columns or classes")
