"""Decide how the tables of a MetaData are spread over the shards, or refuse them by name.

Pure. What a single Postgres promises about a table (a unique id, a foreign key) is kept over all
shards, or the table is refused with what to change.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    Column,
    Constraint,
    ForeignKeyConstraint,
    Index,
    MetaData,
    Table,
    UniqueConstraint,
    exc,
)
from sqlalchemy.dialects.postgresql import ExcludeConstraint

from shardrouter.client.installing.column_keys import is_counted, key_column, server_type
from shardrouter.errors import UnsupportedSchema
from shardrouter.topology import KeyColumn, KeyType, ShardId, TableKind, TableMark, mark_of
from shardrouter.topology import Table as Entry

PER_SHARD: Final = ("shardrouter_unique", "per-shard")
"""In the ``info`` of a unique constraint or index: it need only hold within each shard."""

_ALIKE: Final[Mapping[KeyType, str]] = {  # types that hash equal values alike
    KeyType.INT2: "int",
    KeyType.INT4: "int",
    KeyType.INT8: "int",
    KeyType.TEXT: "text",
    KeyType.VARCHAR: "text",
}
_SELF_MADE_IDS: Final = (KeyType.INT8, KeyType.UUID)


@dataclass(frozen=True, slots=True)
class Plan:
    """One table of the MetaData and how it is registered."""

    table: Table
    entry: Entry

    @property
    def kind(self) -> TableKind:
        return self.entry.kind

    def stands_on(self, shard: ShardId) -> bool:
        return self.entry.shard is None or self.entry.shard == shard


def plan_tables(metadata: MetaData) -> tuple[Plan, ...]:
    """Return the plan of every table, in the order of creation.

    Raises UnsupportedSchema that lists everything to change.
    """
    problems: list[UnsupportedSchema] = []
    plans: dict[str, Plan] = {}
    for table in metadata.tables.values():
        try:
            plans[table.key] = _plan(table)
        except UnsupportedSchema as problem:
            problems.append(problem)
    for plan in plans.values():
        problems.extend(_problems_of(plan))
    if not problems:  # what a table refers to is told only by tables that are sound themselves
        for plan in plans.values():
            problems.extend(_foreign_key_problems(plan, plans))
    if problems:
        raise _all_in_one(problems)
    return tuple(plans.values())


def _plan(table: Table) -> Plan:
    mark = mark_of(table.info)
    if mark is None:
        raise UnsupportedSchema(
            f"table {table.fullname} does not say how it is spread",
            hint='put @sharded(by="column"), @reference or @local(shard="s0") above its class,'
            " or a TableMark into Table.info",
        )
    return Plan(
        table,
        Entry(
            name=table.name,
            kind=mark.kind,
            key=tuple(key_column(column) for column in _key_of(table, mark)),
            shard=None if mark.shard is None else ShardId(mark.shard),
            schema=table.schema or "public",
        ),
    )


def _key_of(table: Table, mark: TableMark) -> Iterator[Column[Any]]:
    for name in mark.by:
        if name not in table.c:
            raise UnsupportedSchema(
                f"table {table.fullname} has no column {name}, its shard key",
                hint=f"its columns are {', '.join(table.c.keys())}",
            )
        yield table.c[name]


def _problems_of(plan: Plan) -> Iterator[UnsupportedSchema]:
    match plan.kind:
        case TableKind.SHARDED:
            yield from _counter_problems(plan)
            yield from _primary_key_problems(plan)
            yield from _unique_problems(plan)
        case TableKind.REFERENCE:
            yield from _counter_problems(plan)
        case TableKind.LOCAL:
            pass


def _counter_problems(plan: Plan) -> Iterator[UnsupportedSchema]:
    for column in plan.table.columns:
        if not is_counted(column):
            continue
        if column.primary_key:
            hint = "declare it autoincrement=False and fill it with router.new_id(key)"
        else:
            hint = "let the client give the value, for example router.new_id(key)"
        yield UnsupportedSchema(
            f"{plan.table.fullname}.{column.name} is counted by each shard for itself: two shards"
            " would give the same number",
            hint=hint,
        )


def _primary_key_problems(plan: Plan) -> Iterator[UnsupportedSchema]:
    table, key = plan.table, _names(plan.entry.key)
    primary_key = [column.name for column in table.primary_key]
    if not primary_key:
        yield UnsupportedSchema(
            f"{table.fullname} has no primary key",
            hint=f"give it one, for example ({', '.join(key)}, id): rows without identity cannot"
            " be moved between shards",
        )
        return
    if key <= set(primary_key):
        return
    message = f"the primary key ({', '.join(primary_key)}) of {table.fullname} is not unique over"
    if len(primary_key) > 1:
        hint = f"add {_missing(plan, primary_key)} to the primary key"
    elif table.dialect_options["postgresql"]["partition_by"]:
        hint = f"add {_missing(plan, primary_key)} to it: partitions inherit no other identity"
    elif server_type(table.primary_key.columns[0])[0] not in _SELF_MADE_IDS:
        hint = (
            "make it a BigInteger or Uuid column filled by router.new_id or uuid4, or add"
            f" {_missing(plan, primary_key)} to the primary key"
        )
    else:
        return
    yield UnsupportedSchema(f"{message} all shards", hint=hint)


def _unique_problems(plan: Plan) -> Iterator[UnsupportedSchema]:
    table, key = plan.table, _names(plan.entry.key)
    rules: list[Constraint | Index] = [*table.constraints, *table.indexes]
    for rule in rules:
        columns = _unique_columns(rule)
        if columns is None or key <= columns or rule.info.get(PER_SHARD[0]) == PER_SHARD[1]:
            continue
        name = f"{rule.name} " if rule.name else ""
        yield UnsupportedSchema(
            f"the unique rule {name}({', '.join(sorted(columns)) or 'an expression'}) of"
            f" {table.fullname} cannot be kept over all shards",
            hint=f"add {_missing(plan, columns)} to it; or, when it need only hold within each"
            f' shard, write it as a UniqueConstraint or Index with info={{"{PER_SHARD[0]}":'
            f' "{PER_SHARD[1]}"}}',
        )


def _unique_columns(rule: Constraint | Index) -> set[str] | None:
    """Return the plain columns that a unique rule compares; None when it is no unique rule."""
    match rule:
        case UniqueConstraint():
            return {column.name for column in rule.columns}
        case Index(unique=True):
            return {c.name for c in rule.expressions if isinstance(c, Column)}
        case ExcludeConstraint():
            equal = {name for name, operator in rule.operators.items() if operator == "="}
            return {column.name for column in rule.columns} & equal
        case _:
            return None


def _foreign_key_problems(plan: Plan, plans: Mapping[str, Plan]) -> Iterator[UnsupportedSchema]:
    for constraint in plan.table.foreign_key_constraints:
        try:
            target = plans[constraint.referred_table.key]
        except (exc.NoReferenceError, KeyError) as error:
            yield UnsupportedSchema(
                f"a foreign key of {plan.table.fullname} names an unknown table: {error}",
                hint="put both tables into one MetaData",
            )
            continue
        why = _why_not(plan, target, constraint)
        if why is not None:
            message, hint = why
            yield UnsupportedSchema(
                f"{plan.table.fullname} ({_columns_of(constraint)}) cannot refer to"
                f" {target.table.fullname}: {message}",
                hint=hint,
            )


def _why_not(plan: Plan, target: Plan, constraint: ForeignKeyConstraint) -> tuple[str, str] | None:
    match plan.kind, target.kind:
        case _, TableKind.REFERENCE:
            return None
        case TableKind.SHARDED, TableKind.SHARDED:
            return _why_not_colocated(plan.entry, target.entry, constraint)
        case TableKind.LOCAL, TableKind.LOCAL if plan.entry.shard == target.entry.shard:
            return None
        case _, TableKind.SHARDED:
            return (
                "its rows are spread over the shards",
                "drop the foreign key, or shard this table by the same key",
            )
        case _:
            return (
                f"that stands on shard {target.entry.shard} only",
                "drop the foreign key, or make the other a @reference table",
            )


def _why_not_colocated(
    ours: Entry, theirs: Entry, constraint: ForeignKeyConstraint
) -> tuple[str, str] | None:
    pairs = {(item.parent.name, item.column.name) for item in constraint.elements}
    wanted = [(a.name, b.name) for a, b in zip(ours.key, theirs.key, strict=False)]
    hint = (
        f"make it a ForeignKeyConstraint that pairs the shard keys"
        f" ({', '.join(sorted(_names(ours.key)))}) and ({', '.join(sorted(_names(theirs.key)))})"
    )
    if len(ours.key) != len(theirs.key) or not pairs.issuperset(wanted):
        return "the rows may stand on different shards", hint
    for a, b in zip(ours.key, theirs.key, strict=True):
        if _ALIKE.get(a.type, a.type) != _ALIKE.get(b.type, b.type):
            return (
                f"{a.type} and {b.type} hash differently, so the rows may stand on other shards",
                f"give {a.name} and {b.name} the same type",
            )
    return None


def _columns_of(constraint: ForeignKeyConstraint) -> str:
    return ", ".join(column.name for column in constraint.columns)


def _names(key: Iterable[KeyColumn]) -> set[str]:
    return {column.name for column in key}


def _missing(plan: Plan, columns: Iterable[str]) -> str:
    given = set(columns)
    return " and ".join(column.name for column in plan.entry.key if column.name not in given)


def _all_in_one(problems: Sequence[UnsupportedSchema]) -> UnsupportedSchema:
    if len(problems) == 1:
        return problems[0]
    lines = "".join(f"\n- {problem.message} ({problem.hint})" for problem in problems)
    return UnsupportedSchema(
        f"{len(problems)} things keep these tables from being spread over shards:{lines}",
        hint="mend them and run it again: nothing was changed yet",
    )
