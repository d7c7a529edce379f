"""Refuse rows that do not belong to a session, before any SQL is sent.

A session on a key holds rows of that key's slot: a row of another slot would be stranded when
slots move, even where the same shard owns both today. The guard trigger on the shards is what
makes a wrong row impossible; this check makes it a clear error at the line that caused it.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import inspect
from sqlalchemy.orm import ColumnProperty, Mapper, RelationshipDirection
from sqlalchemy.orm.base import NO_VALUE, PASSIVE_NO_FETCH, PASSIVE_NO_INITIALIZE

from shardrouter.client.models import mark_of_mapper
from shardrouter.client.unit import UnitOfWork
from shardrouter.errors import ReadOnlySession, ReferenceWrite, ShardKeyMissing, WrongShardKey
from shardrouter.topology import TableKind, TableMark, key_slot

_UNKNOWN: Final = object()
"""A key value that the flush itself will fill in from a row it cannot see yet."""


def refuse_write(unit: UnitOfWork, what: str) -> None:
    """Raise ReadOnlySession when the unit only reads."""
    if unit.read is not None:
        raise ReadOnlySession(
            f"{what} in a read session",
            shard=unit.shard.id,
            hint='open the session without read="replica" or read="primary" to write',
        )


def check_mark(unit: UnitOfWork, mark: TableMark | None, table: str) -> None:
    """Raise when the unit's shard may not write the table at all."""
    if mark is None:
        return
    if mark.kind is TableKind.REFERENCE:
        raise ReferenceWrite(
            f"{table} is a reference table: it has the same rows on every shard",
            shard=unit.shard.id,
            hint="write it with router.transaction(reference=True) and tx.reference",
        )
    if mark.kind is TableKind.LOCAL and mark.shard != unit.shard.id:
        raise WrongShardKey(
            f"{table} stands on shard {mark.shard} only",
            shard=unit.shard.id,
            hint=f"open a session with router.session(shard={mark.shard!r})",
        )


def check_object(unit: UnitOfWork, instance: Any) -> None:
    """Raise when a mapped object that is about to be written belongs to another slot."""
    state = inspect(instance)
    mapper: Mapper[Any] = state.mapper
    mark, table, attributes = _rule_of(mapper)
    if mark is None:
        return
    if mark.kind is not TableKind.SHARDED:
        check_mark(unit, mark, table)
        return
    if state.key is None and len(attributes) == 1:
        # A new row whose one key column is set: nearly every row there is.
        value = state.dict.get(attributes[0])
        if value is not None and key_slot(value, unit.slots) == unit.slot:
            return
    for key in _keys_of(state, mapper, attributes):
        check_key(unit, table, mark, key)


def check_key(unit: UnitOfWork, table: str, mark: TableMark, key: Sequence[Any]) -> None:
    """Raise WrongShardKey or ShardKeyMissing unless the key is of the unit's slot."""
    if any(value is _UNKNOWN for value in key):
        return
    named = ", ".join(f"{c}={v!r}" for c, v in zip(mark.by, key, strict=True))
    if any(value is None for value in key):
        raise ShardKeyMissing(
            f"a row of {table} has no shard key ({named})",
            shard=unit.shard.id,
            hint=f"set {' and '.join(mark.by)} before the flush",
        )
    slot = key_slot(key[0] if len(key) == 1 else tuple(key), unit.slots)
    if unit.slot is not None and slot != unit.slot:
        raise WrongShardKey(
            f"a row of {table} with {named} is of slot {slot}, this session is of slot {unit.slot}",
            shard=unit.shard.id,
            hint="open a session with that row's key, or router.transaction(keys=[...]) for both",
        )


def _keys_of(
    state: Any, mapper: Mapper[Any], attributes: tuple[str, ...]
) -> Iterator[tuple[Any, ...]]:
    """Yield the key the row will have and, when it changes, the key it had."""
    yield tuple(_value(state, mapper, name) for name in attributes)
    if state.persistent:
        before = tuple(_value_before(state, name) for name in attributes)
        if any(value is not _UNKNOWN for value in before):
            now = tuple(state.dict.get(name) for name in attributes)
            yield tuple(n if b is _UNKNOWN else b for b, n in zip(before, now, strict=True))


def _value(state: Any, mapper: Mapper[Any], name: str) -> Any:
    value = state.attrs[name].loaded_value
    if value is not None and value is not NO_VALUE:
        return value
    if state.persistent and value is NO_VALUE:
        return _UNKNOWN  # deferred or expired: not part of what is written
    return _parent_value(state, mapper, name)


def _value_before(state: Any, name: str) -> Any:
    history = state.get_history(name, PASSIVE_NO_INITIALIZE)
    return history.deleted[0] if history.deleted else _UNKNOWN


def _parent_value(state: Any, mapper: Mapper[Any], name: str) -> Any:
    """Return the key that the flush will copy from a parent object, or None."""
    for relationship, remote in _parents(mapper, name):
        parent = state.get_impl(relationship).get(state, state.dict, passive=PASSIVE_NO_FETCH)
        if parent is None or parent is NO_VALUE:
            continue
        value = getattr(parent, remote)
        return _UNKNOWN if value is None else value
    return None


@lru_cache(maxsize=1024)
def _rule_of(mapper: Mapper[Any]) -> tuple[TableMark | None, str, tuple[str, ...]]:
    """Return a mapped class's mark, the name of its table, and its key attributes in order."""
    mark = mark_of_mapper(mapper)
    columns = mapper.local_table.c
    by = () if mark is None else mark.by
    attributes = tuple(mapper.get_property_by_column(columns[name]).key for name in by)
    return mark, str(mapper.local_table), attributes


@lru_cache(maxsize=1024)
def _parents(mapper: Mapper[Any], name: str) -> tuple[tuple[str, str], ...]:
    """Return (relationship, remote attribute) pairs that fill the named attribute."""
    prop = mapper.attrs[name]
    assert isinstance(prop, ColumnProperty)
    column = prop.columns[0]
    return tuple(
        (relationship.key, relationship.mapper.get_property_by_column(remote).key)
        for relationship in mapper.relationships
        if relationship.direction is RelationshipDirection.MANYTOONE
        for local, remote in relationship.local_remote_pairs or ()
        if local is column
    )
