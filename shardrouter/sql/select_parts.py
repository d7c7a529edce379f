"""Take a SQLAlchemy SELECT apart. The one file that reads SQLAlchemy's private attributes.

SQLAlchemy is pinned to one minor version for its sake. A clause that is not known here is refused,
so that a new one cannot slip through.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BindParameter, ClauseElement, ColumnElement, FromClause, Select, Subquery
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.sql.annotation import Annotated
from sqlalchemy.sql.cache_key import CacheKey
from sqlalchemy.sql.elements import (
    ClauseList,
    UnaryExpression,
    _label_reference,
    _textual_label_reference,
)
from sqlalchemy.sql.operators import asc_op, desc_op, nulls_first_op, nulls_last_op
from sqlalchemy.types import TypeEngine
from sqlalchemy.util import EMPTY_DICT

from shardrouter.routing.merge import OrderKey
from shardrouter.sql.refusal import refusal

_KNOWN: Final = frozenset(
    {
        "_raw_columns",
        "_memoized_select_entities",
        "_from_obj",
        "_where_criteria",
        "_having_criteria",
        "_order_by_clauses",
        "_group_by_clauses",
        "_setup_joins",
        "_correlate_mode",
        "_limit_clause",
        "_offset_clause",
        "_distinct",
        "_label_style",
        "_with_options",
        "_propagate_attrs",
        "_compile_options",
    }
)
_NAMES: Final[Mapping[str, str]] = {
    "_for_update_arg": "FOR UPDATE",
    "_fetch_clause": "FETCH",
    "_distinct_on": "DISTINCT ON",
    "_independent_ctes": "WITH",
    "_prefixes": "a prefix",
    "_suffixes": "a suffix",
    "_hints": "a hint",
    "_statement_hints": "a hint",
    "_correlate": "correlate()",
    "_correlate_except": "correlate_except()",
    "_pre_columns_clause": "DISTINCT ON or another clause before the select list",
    "_post_select_clause": "a clause after SELECT",
    "_post_criteria_clause": "a clause after WHERE",
    "_post_body_clause": "a clause after the statement",
}


@dataclass(frozen=True, slots=True)
class OrderElement:
    """One element of ORDER BY without its direction."""

    expression: ColumnElement[Any]
    key: OrderKey


@dataclass(frozen=True, slots=True)
class Parts:
    """The clauses of a SELECT that a merge understands."""

    columns: tuple[ColumnElement[Any], ...]
    where: tuple[ColumnElement[Any], ...]
    group_by: tuple[ColumnElement[Any], ...]
    having: tuple[ColumnElement[Any], ...]
    order_by: tuple[OrderElement, ...]
    limit: BindParameter[Any] | None
    offset: BindParameter[Any] | None
    distinct: bool


@dataclass(frozen=True, slots=True)
class ResultColumn:
    """One column of the result as SQLAlchemy presents it."""

    name: str
    lookups: tuple[Any, ...]
    type: TypeEngine[Any]


@dataclass(frozen=True, slots=True)
class Expanded:
    """A statement as it is sent: mapped classes, joins and loader options are plain SQL here."""

    statement: Select[Any]
    columns: tuple[ResultColumn, ...]
    bind_keys: frozenset[str]
    loads_collections: bool

    @property
    def froms(self) -> Sequence[FromClause]:
        return self.statement.get_final_froms()


def expand(statement: Select[Any]) -> Expanded:
    """Compile a statement as far as its plain SQL structure. Raises SQLAlchemy's CompileError."""
    dialect: Any = PGDialect_psycopg
    compiled: Any = statement.compile(dialect=dialect())
    state = compiled.compile_state
    core = state.statement
    assert isinstance(core, Select)
    return Expanded(
        statement=core,
        columns=tuple(
            ResultColumn(entry.keyname, entry.objects, entry.type)
            for entry in compiled._result_columns
        ),
        bind_keys=frozenset(bind.key for bind in compiled.bind_names),
        loads_collections=bool(getattr(state, "multi_row_eager_loaders", False)),
    )


def as_subquery(statement: Select[Any], name: str) -> Subquery[Any]:
    """Return a statement as a subquery.

    It is expanded first: SQLAlchemy would leave out the options of a nested statement, and with
    them the conditions that ``with_loader_criteria`` adds.
    """
    return expand(statement).statement.subquery(name)


def cache_key(statement: Select[Any]) -> CacheKey | None:
    """Return a key of the statement's structure and its parameters, or None when it has no key."""
    return statement._generate_cache_key()


def without_options(statement: Select[Any]) -> Select[Any]:
    """Return a copy without execution options: those belong to one run, not to the structure."""
    copy = statement._generate()
    copy._execution_options = EMPTY_DICT
    return copy


def read_parts(statement: Select[Any]) -> Parts:
    """Return the clauses. Raises CrossShardUnsupported naming the first one not understood."""
    for name, _ in Select._traverse_internals:
        if name not in _KNOWN and _is_given(getattr(statement, name, None)):
            raise refusal(_NAMES.get(name, name.strip("_")), "only a plain SELECT can be merged")
    columns: tuple[Any, ...] = tuple(statement.inner_columns)
    return Parts(
        columns=columns,
        where=statement._where_criteria,
        group_by=tuple(
            _resolved(part, columns, "GROUP BY")
            for element in statement._group_by_clauses
            for part in _flat(element)
        ),
        having=statement._having_criteria,
        order_by=tuple(_order_element(e, columns) for e in statement._order_by_clauses),
        limit=_bound(statement._limit_clause, "LIMIT"),
        offset=_bound(statement._offset_clause, "OFFSET"),
        distinct=bool(statement._distinct),
    )


def is_rewritten(element: ColumnElement[Any]) -> bool:
    """True when the type of a column puts an SQL function around it in the select list."""
    return bool(element.type._has_column_expression)


def bare(statement: Select[Any], *, keep_groups: bool = False) -> Select[Any]:
    """Return a copy without ORDER BY, LIMIT, OFFSET and, unless kept, DISTINCT, GROUP BY, HAVING.

    SQLAlchemy has no public way to drop DISTINCT and HAVING.
    """
    copy = statement.order_by(None).limit(None).offset(None)
    if not keep_groups:
        copy = copy.group_by(None)
        copy._having_criteria = ()
        copy._distinct = False
    return copy


def sees_same_rows(one: Expanded, other: Expanded) -> bool:
    """True when two statements have the same FROM and WHERE, so that they group the same rows."""
    ours, theirs = one.statement._where_criteria, other.statement._where_criteria
    return sees_same_tables(one, other) and _are_same(ours, theirs)


def sees_same_tables(one: Expanded, other: Expanded) -> bool:
    """True when two statements have the same FROM."""
    return _are_same(one.froms, other.froms)


def _are_same(ours: Sequence[ClauseElement], theirs: Sequence[ClauseElement]) -> bool:
    return len(ours) == len(theirs) and all(a.compare(b) for a, b in zip(ours, theirs, strict=True))


def class_of(node: object) -> type:
    """Return the class of a node, looking through SQLAlchemy's annotations."""
    cls = type(node)
    return cls.__bases__[1] if issubclass(cls, Annotated) else cls


def plain(element: ClauseElement) -> Any:
    """Return what a label names: the labelled expression, or the element itself."""
    while element.__visit_name__ in ("label", "label_reference"):
        element = element.element  # type: ignore[attr-defined]
    return element


def _is_given(value: Any) -> bool:
    return value is not None and value != () and value != {} and value is not False


def _flat(element: Any) -> Sequence[ColumnElement[Any]]:
    """Return the elements of a list: SQLAlchemy makes one of a function in GROUP BY."""
    return list(element.clauses) if class_of(element) is ClauseList else [element]


def _order_element(
    element: ColumnElement[Any], columns: Sequence[ColumnElement[Any]]
) -> OrderElement:
    descending, nulls_first = False, None
    inner: Any = element
    while True:
        cls = class_of(inner)
        modifier = inner.modifier if cls is UnaryExpression else None
        if cls is _label_reference:
            inner = inner.element
        elif modifier in (asc_op, desc_op):
            descending, inner = modifier is desc_op, inner.element
        elif modifier in (nulls_first_op, nulls_last_op):
            nulls_first, inner = modifier is nulls_first_op, inner.element
        else:
            break
    expression = _resolved(inner, columns, "ORDER BY")
    return OrderElement(
        expression, OrderKey(descending, descending if nulls_first is None else nulls_first)
    )


def _resolved(
    element: Any, columns: Sequence[ColumnElement[Any]], clause: str
) -> ColumnElement[Any]:
    """Return the column of the select list that a name given as text stands for."""
    if class_of(element) is _label_reference:
        element = element.element
    if class_of(element) is not _textual_label_reference:
        return element  # type: ignore[no-any-return]
    named = [c for c in columns if getattr(c, "name", None) == element.element]
    if len(named) != 1:
        raise refusal(
            f'{clause} "{element.element}"',
            "it does not name exactly one column of the select list",
            hint="give the column or label object instead of text",
        )
    return named[0]


def _bound(clause: Any, name: str) -> BindParameter[Any] | None:
    if clause is not None and not isinstance(clause, BindParameter):
        raise refusal(f"{name} with an expression", "its value must be known", "give a number")
    return clause
