"""The condition that a row is of a slot its shard owns.

While slots move, a shard may hold rows on their way besides its own. The condition on one table of
a FROM clause is enough: the sharded tables in it are joined on their whole shard keys, so the rows
that come together are of one slot.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import BindParameter, Boolean, ColumnElement, LargeBinary, Table, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.visitors import InternalTraversal

from shardrouter.sql.colocation import SpreadTable
from shardrouter.sql.refusal import refusal
from shardrouter.topology import KeyType, ShardId, TableKind, Topology, mark_of, slot_sql_of
from shardrouter.topology import Table as Entry

OWNED: Final = "sr_owned"
"""Name of the parameter that tells which slots a shard owns: one bit for each, or NULL for all."""

Schemas = Mapping[str | None, str | None]
"""What a statement's ``schema_translate_map`` makes of the schemas of its tables."""

NO_SCHEMAS: Final[Schemas] = MappingProxyType({})


class OwnSlot(FunctionElement[bool]):
    """True for rows of an owned slot. Its arguments are the bits and the key columns."""

    name = "own_slot"
    type = Boolean()
    inherit_cache = True
    _traverse_internals = [  # noqa: RUF012 - SQLAlchemy's own form
        *FunctionElement._traverse_internals,
        ("slot", InternalTraversal.dp_string),
    ]

    def __init__(self, slot: str, bits: BindParameter[Any], *keys: ColumnElement[Any]) -> None:
        """``slot``: SQL of a row's slot, with ``{0}``, ``{1}`` ... for the key columns."""
        self.slot = slot
        super().__init__(bits, *keys)


@compiles(OwnSlot)
def _compile_own_slot(element: OwnSlot, compiler: SQLCompiler, **how: Any) -> str:
    bits, *keys = (compiler.process(argument, **how) for argument in element.clauses)
    slot = element.slot.format(*keys)
    # NULL bits: get_bit is NULL, whatever the row, and Postgres drops the condition in planning.
    return f"(coalesce(pg_catalog.get_bit(CAST({bits} AS bytea), {slot}), 1) = 1)"


class OwnRows:
    """Which rows of a fleet's shards are their own, by one topology."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self._bits = {
            shard.id: _bits(topology, shard.id)
            for shard in topology.shards
            if topology.strangers_on(shard.id)
        }

    def bits(self, shard: ShardId) -> bytes | None:
        """Return the slots a shard owns, or None where it holds no other rows."""
        return self._bits.get(shard)

    def condition(self, told_by: Sequence[SpreadTable], schemas: Schemas) -> ColumnElement[bool]:
        """Return the condition for a FROM clause, with the parameter ``OWNED``.

        told_by: the tables whose first key that is not NULL tells the row's slot.
        Raises CrossShardUnsupported for a table that is not registered.
        """
        columns: list[ColumnElement[Any]] = []
        slots: list[str] = []
        for spread in told_by:
            types = self._key_types(spread.table, schemas)
            places = range(len(columns), len(columns) + len(types))
            named = [(f"{{{i}}}", key_type) for i, key_type in zip(places, types, strict=True)]
            slots.append(slot_sql_of(named, self.topology.slots))
            by_name = {column.name: column for column in spread.source._deannotate().c}
            columns.extend(by_name[name] for name in spread.keys)
        slot = slots[0] if len(slots) == 1 else f"coalesce({', '.join(slots)})"
        bits: BindParameter[Any] = bindparam(OWNED, type_=LargeBinary(), required=True)
        return OwnSlot(slot, bits, *columns)

    def condition_on(
        self, shard: ShardId, table: Table, keys: Sequence[ColumnElement[Any]]
    ) -> ColumnElement[bool]:
        """Return the condition for one shard and table, its key columns given in their order.

        Raises CrossShardUnsupported for a table that is not registered.
        """
        bits = bindparam(OWNED, self.bits(shard), LargeBinary(), unique=True)
        types = self._key_types(table, NO_SCHEMAS)
        places = [(f"{{{i}}}", key_type) for i, key_type in enumerate(types)]
        return OwnSlot(slot_sql_of(places, self.topology.slots), bits, *keys)

    def is_registered(self, table: Table) -> bool:
        """True when rows of the table move with their slots."""
        return _registered(self.topology, table, NO_SCHEMAS) is not None

    def _key_types(self, table: Table, schemas: Schemas) -> tuple[KeyType, ...]:
        found = _registered(self.topology, table, schemas)
        if found is None:
            raise refusal(
                f"table {table.fullname} while slots move between shards",
                "it is not registered with the key of its model, so which of its rows are on"
                " their way is not known",
                hint="register it: router.create_all, or `shardrouter table add`",
            )
        return tuple(column.type for column in found.key)


def _registered(topology: Topology, table: Table, schemas: Schemas) -> Entry | None:
    """Return what is registered of a sharded table, None when nothing or something else is."""
    schema = schemas.get(table.schema, table.schema)
    found = topology.table(f"{schema or 'public'}.{table.name}")
    if found is None and schema is None:  # search_path decides in which schema it is
        same = [entry for entry in topology.tables if entry.name == table.name]
        found = same[0] if len(same) == 1 else None
    keys = key_names(table)
    if found is None or not keys or keys != tuple(column.name for column in found.key):
        return None
    return found


def key_names(table: Table) -> tuple[str, ...]:
    """Return the names of the key columns by the table's mark, none unless it is sharded."""
    mark = mark_of(table.info)
    if mark is None or mark.kind is not TableKind.SHARDED:
        return ()
    return tuple(table.c[key].name for key in mark.by)


def _bits(topology: Topology, shard: ShardId) -> bytes:
    bits = bytearray(topology.slots // 8)
    for slot in topology.slots_of(shard):
        bits[slot >> 3] |= 1 << (slot & 7)  # get_bit counts from the lowest bit of a byte
    return bytes(bits)
