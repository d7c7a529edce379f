"""Split a SELECT whose shards' rows are rows of the answer: they only need the right order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, Select, Text, bindparam, cast, type_coerce
from sqlalchemy.types import Boolean, Date, DateTime, Integer, LargeBinary, NullType, Numeric, Uuid

from shardrouter.routing.merge import TEXT, ColumnFacts, OrderKey, column_name
from shardrouter.sql.matching import index_of
from shardrouter.sql.question import facts_question
from shardrouter.sql.refusal import refusal
from shardrouter.sql.select_parts import OrderElement, Parts, bare, expand, plain

ROW_BOUND: Final = "sr_limit"
"""Name of the parameter that bounds the rows each shard sends."""

_ORDERED_NATIVELY: Final = (Boolean, Date, DateTime, Integer, LargeBinary, Numeric, Uuid)
"""Declared types worth a try without asking; what the server says decides."""


@dataclass(frozen=True, slots=True)
class RowsScatter:
    """What each shard is asked, and where the keys stand in its rows."""

    statement: Select[Any]
    keys: tuple[OrderKey, ...]
    positions: tuple[int, ...]
    """Places of the keys among the columns that a shard sends."""

    hidden: int
    """How many keys were added to the select list, behind what the caller asked for."""

    facts: tuple[ColumnFacts, ...] | None
    """Facts of the keys, when they were asked for."""


@dataclass(frozen=True, slots=True)
class RowsSplit:
    """A SELECT whose rows are merged by its ORDER BY."""

    statement: Select[Any]
    order_by: tuple[OrderElement, ...]
    in_list: tuple[int | None, ...]
    """Place of each ORDER BY element in the select list, where it stands there as it is."""

    is_distinct: bool

    @property
    def needs_facts(self) -> bool:
        """True when the declared types leave open how the keys are ordered."""
        return not all(_is_native(element) for element in self.order_by)

    def question(self) -> Select[Any]:
        """Return the question about the keys' types."""
        names = [column_name(i) for i in range(len(self.order_by))]
        keys = [
            plain(element.expression).label(name)
            for element, name in zip(self.order_by, names, strict=True)
        ]
        typed = bare(self.statement, keep_groups=True)
        typed = typed.with_only_columns(*keys, maintain_column_froms=True)
        return facts_question(typed, names)

    def scatter(self, facts: tuple[ColumnFacts, ...] | None, *, as_text: bool) -> RowsScatter:
        """Return what to send. ``as_text``: a Postgres will order the keys, so they travel as text.

        Raises CrossShardUnsupported when DISTINCT rows need a key as text.
        """
        hidden: list[Any] = []
        for index, element in enumerate(self.order_by):
            must_cast = as_text and (facts is None or facts[index].oid not in TEXT)
            if self.in_list[index] is not None and not must_cast:
                continue
            if self.is_distinct and must_cast:
                raise refusal(
                    f"DISTINCT with ORDER BY {element.expression}",
                    "its type is ordered by its own rules",
                    hint="drop distinct(), or order by another column",
                )
            value = plain(element.expression)
            shown = cast(value, Text) if must_cast else type_coerce(value, NullType())
            hidden.append(shown.label(column_name(index)))
        statement = self.statement.add_columns(*hidden).offset(None)
        statement = statement.limit(bindparam(ROW_BOUND, type_=BigInteger()))
        return RowsScatter(
            statement=statement,
            keys=tuple(element.key for element in self.order_by),
            positions=self._positions(statement),
            hidden=len(hidden),
            facts=facts,
        )

    def _positions(self, statement: Select[Any]) -> tuple[int, ...]:
        # By name: SQLAlchemy puts the columns of joined eager loads behind the hidden ones.
        sent = {column.name: place for place, column in enumerate(expand(statement).columns)}
        places = (sent.get(column_name(i), place) for i, place in enumerate(self.in_list))
        return tuple(place for place in places if place is not None)


def split_rows(statement: Select[Any], parts: Parts, *, has_entities: bool) -> RowsSplit:
    """Return the split. Raises CrossShardUnsupported when DISTINCT hides an ORDER BY element."""
    in_list = tuple(index_of(element.expression, parts.columns) for element in parts.order_by)
    if parts.distinct:
        check_distinct_order(parts.order_by, in_list)
    return RowsSplit(
        statement=statement,
        order_by=parts.order_by,
        # The select list of mapped classes holds classes: every key travels beside them.
        in_list=(None,) * len(in_list) if has_entities else in_list,
        is_distinct=parts.distinct,
    )


def check_distinct_order(order_by: Sequence[OrderElement], in_list: Sequence[int | None]) -> None:
    """Raise CrossShardUnsupported for ORDER BY elements that DISTINCT has dropped."""
    for element, place in zip(order_by, in_list, strict=True):
        if place is None:
            raise refusal(
                f"ORDER BY {element.expression}",
                "with DISTINCT it must appear in the select list",
                hint="select the expression too, or order by a column of the select list",
            )


def _is_native(element: OrderElement) -> bool:
    return issubclass(element.expression.type._type_affinity or NullType, _ORDERED_NATIVELY)
