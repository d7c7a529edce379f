"""Where the rows of a FROM clause are: on one shard, on every shard alike, or spread.

Pure. Spread rows may be asked for on each shard alone only when the rows that belong together are
on one shard: sharded tables are joined on all columns of their shard keys. A join is followed
through inner joins and the inner side of outer joins; everything else is refused.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from sqlalchemy import Alias, Column, FromClause, Join, Table
from sqlalchemy.orm.util import _ORMJoin
from sqlalchemy.sql import elements, operators
from sqlalchemy.sql.selectable import FromGrouping
from sqlalchemy.types import Date, DateTime, Integer, String, TypeEngine, Uuid

from shardrouter.sql.refusal import refusal
from shardrouter.sql.select_parts import class_of
from shardrouter.topology import TableKind, mark_of

_KEY_FAMILIES: Final[tuple[type[TypeEngine[Any]], ...]] = (Integer, String, Uuid, Date, DateTime)
"""Types within which equal key values have equal slots. A date equals a timestamp in SQL, but
hashes differently."""

_JOINS: Final = frozenset({Join, _ORMJoin})

_OTHER_SOURCES: Final = {
    "cte": "WITH",
    "lateral": "LATERAL",
    "subquery": "a subquery",
    "table": "table()",
    "table_valued_alias": "a function",
    "tablesample": "TABLESAMPLE",
    "values": "VALUES",
}

ColumnRef = tuple[FromClause, str]


@dataclass(frozen=True, slots=True)
class SpreadTable:
    """A sharded table or alias whose key columns are those of its own rows, never NULL-extended."""

    source: FromClause
    keys: tuple[str, ...]
    table: Table

    def columns(self) -> list[ColumnRef]:
        return [(self.source, name) for name in self.keys]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the rows of a FROM element are."""

    shard: str | None = None
    """The one shard that has local rows."""

    anchors: tuple[SpreadTable, ...] = ()
    """Sharded tables by whose key a row's shard is told."""

    told_by: tuple[SpreadTable, ...] = ()
    """The first of their keys that is not NULL is that of all sharded rows in a row: one table,
    or two of a full join."""

    is_spread: bool = False
    """Each shard has other rows. False and no shard: every shard has all rows."""

    has_local: bool = False


class Equalities:
    """Columns that are equal in each row that survives."""

    def __init__(self, conditions: Iterable[Any] = ()) -> None:
        self._groups: list[set[ColumnRef]] = []
        for condition in conditions:
            self._add(condition)

    def also(self, other: "Equalities") -> Self:
        merged = type(self)()
        for group in (*self._groups, *other._groups):
            merged._join(set(group))
        return merged

    def are_equal(self, left: ColumnRef, right: ColumnRef) -> bool:
        return any(left in group and right in group for group in self._groups)

    def _add(self, condition: Any) -> None:
        cls = class_of(condition)
        if cls is elements.Grouping:
            self._add(condition.element)
        elif cls is elements.BooleanClauseList and condition.operator is operators.and_:
            for part in condition.clauses:
                self._add(part)
        elif cls is elements.BinaryExpression and condition.operator is operators.eq:
            left, right = column_ref(condition.left), column_ref(condition.right)
            if left and right and _same_family(condition.left.type, condition.right.type):
                self._join({left, right})

    def _join(self, group: set[ColumnRef]) -> None:
        for known in [g for g in self._groups if g & group]:
            self._groups.remove(known)
            group |= known
        self._groups.append(group)


def placement_of(froms: Sequence[FromClause], where: Sequence[Any]) -> Placement:
    """Return where the rows of a FROM clause are. Raises CrossShardUnsupported.

    Several elements are a product that WHERE cuts down, as SQL says.
    """
    kept = Equalities(where)
    placement = Placement()
    for element in froms:
        placement = _inner(placement, _place(element, kept), kept, "FROM")
    return placement


def _place(element: FromClause, kept: Equalities) -> Placement:
    cls = class_of(element)
    if cls in _JOINS:
        return _place_join(element, kept)  # type: ignore[arg-type]
    if cls is Alias and class_of(element.element) is Table:  # type: ignore[attr-defined]
        return _place_table(element, element.element)  # type: ignore[attr-defined]
    if cls is Table:
        return _place_table(element, element)  # type: ignore[arg-type]
    if cls is FromGrouping:
        return _place(element.element, kept)  # type: ignore[attr-defined]
    what = _OTHER_SOURCES.get(element.__visit_name__, type(element).__name__)
    raise refusal(f"{what} in FROM", "only tables and joins of tables can be merged")


def _place_table(source: FromClause, table: Table) -> Placement:
    mark = mark_of(table.info)
    if mark is None:
        raise refusal(
            f"table {table.fullname}",
            "it is not known how it is spread",
            hint="mark it with @sharded(by=...), @reference or @local(shard=...)",
        )
    match mark.kind:
        case TableKind.REFERENCE:
            return Placement()
        case TableKind.LOCAL:
            return Placement(shard=mark.shard, has_local=True)
        case TableKind.SHARDED:
            keys = tuple(table.c[key].name for key in mark.by)
            spread = (SpreadTable(source, keys, table),)
            return Placement(anchors=spread, told_by=spread, is_spread=True)


def _place_join(join: Join, kept: Equalities) -> Placement:
    on = Equalities([join.onclause])
    if join.full:
        left, right = _place(join.left, Equalities()), _place(join.right, Equalities())
        return _full(left, right, on, _named(join.right))
    if join.isouter:
        left, right = _place(join.left, kept), _place(join.right, Equalities())
        return _left(left, right, on, _named(join.right))
    inherited = kept.also(on)
    left, right = _place(join.left, inherited), _place(join.right, inherited)
    return _inner(left, right, inherited, f"JOIN {_named(join.right)}")


def _inner(left: Placement, right: Placement, equal: Equalities, clause: str) -> Placement:
    _check_local(left, right, clause)
    if left.is_spread and right.is_spread and not _meet(left, right, equal):
        raise _not_colocated(clause)
    return Placement(
        shard=left.shard or right.shard,
        anchors=left.anchors + right.anchors,
        told_by=left.told_by or right.told_by,
        is_spread=left.is_spread or right.is_spread,
        has_local=left.has_local or right.has_local,
    )


def _left(left: Placement, right: Placement, on: Equalities, name: str) -> Placement:
    clause = f"LEFT JOIN {name}"
    _check_local(left, right, clause)
    if right.is_spread and not left.is_spread:
        raise refusal(
            clause,
            "a row of the reference table would come once for each shard without a match",
            hint="start from the sharded table, or use an inner join",
        )
    if right.is_spread and not _meet(left, right, on):
        raise _not_colocated(clause)
    return Placement(
        shard=left.shard or right.shard,
        anchors=left.anchors,
        told_by=left.told_by,
        is_spread=left.is_spread,
        has_local=left.has_local or right.has_local,
    )


def _full(left: Placement, right: Placement, on: Equalities, name: str) -> Placement:
    clause = f"FULL JOIN {name}"
    _check_local(left, right, clause)
    if left.is_spread != right.is_spread:
        raise refusal(clause, "a row without a match would come once for each shard")
    if left.is_spread and not _meet(left, right, on):
        raise _not_colocated(clause)
    return Placement(
        shard=left.shard or right.shard,
        told_by=left.told_by + right.told_by,
        is_spread=left.is_spread,
        has_local=left.has_local or right.has_local,
    )


def _check_local(left: Placement, right: Placement, clause: str) -> None:
    if (left.has_local and right.is_spread) or (right.has_local and left.is_spread):
        raise refusal(clause, "a local table and a sharded one are not on the same shards")
    if left.has_local and right.has_local and left.shard != right.shard:
        raise refusal(clause, f"the tables are local to {left.shard} and to {right.shard}")


def _meet(left: Placement, right: Placement, equal: Equalities) -> bool:
    return any(
        len(one.keys) == len(other.keys)
        and all(equal.are_equal(a, b) for a, b in zip(one.columns(), other.columns(), strict=True))
        for one in left.anchors
        for other in right.anchors
    )


def _named(element: Any) -> str:
    """Return the tables of a FROM element, as the user wrote them."""
    cls = class_of(element)
    if cls in _JOINS:
        return f"{_named(element.left)} and {_named(element.right)}"
    if cls in (Alias, FromGrouping):
        return _named(element.element)
    return str(element)


def _not_colocated(clause: str) -> Exception:
    return refusal(
        clause,
        "the sharded tables are not joined on their whole shard keys, so rows that belong "
        "together may be on two shards",
        hint="join them on equality of all shard key columns, or make one a reference table",
    )


def join_conditions(froms: Iterable[FromClause]) -> Iterator[Any]:
    """Yield the ON conditions of all joins in a FROM clause."""
    pending: list[Any] = list(froms)
    while pending:
        element = pending.pop()
        if class_of(element) in _JOINS:
            yield element.onclause
            pending += (element.left, element.right)
        elif class_of(element) is FromGrouping:
            pending.append(element.element)


def column_ref(node: Any) -> ColumnRef | None:
    """Return which table's column a node is, or None for another expression."""
    return (node.table, node.name) if class_of(node) is Column else None


def _same_family(left: TypeEngine[Any], right: TypeEngine[Any]) -> bool:
    for family in _KEY_FAMILIES:
        if left._type_affinity is family or right._type_affinity is family:
            return left._type_affinity is right._type_affinity and getattr(
                left, "timezone", None
            ) == getattr(right, "timezone", None)
    return False
