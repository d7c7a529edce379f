"""Tell how a SQLAlchemy column can serve as a shard key, before any table is made.

Pure. The bytes that Postgres hashes must be those the router sees, so a type that changes values
between Python and the server is refused.
"""

import re
from typing import Any, Final

from sqlalchemy import Column, Sequence, String, types
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import CompileError
from sqlalchemy.sql.elements import ClauseElement

from shardrouter.errors import UnsupportedSchema
from shardrouter.topology import KeyColumn, key_type_of_column

_DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]

_SERVER_NAMES: Final = {
    "SMALLINT": "int2",
    "INTEGER": "int4",
    "BIGINT": "int8",
    "TEXT": "text",
    "VARCHAR": "varchar",
    "UUID": "uuid",
    "DATE": "date",
    "TIMESTAMP WITHOUT TIME ZONE": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "CHAR": "bpchar",
    "REAL": "float4",
    "FLOAT": "float8",
    "DOUBLE PRECISION": "float8",
    "BOOLEAN": "bool",
}
_VALUE_CHANGERS: Final = (types.TypeDecorator, types.Enum, types.UserDefinedType)
_TYPE: Final = re.compile(
    r"(?P<name>[A-Z]+( PRECISION)?)(\((?P<size>[\d, ]+)\))?(?P<zone> WITH(OUT)? TIME ZONE)?"
    r"( COLLATE .+)?"
)


def key_column(column: Column[Any]) -> KeyColumn:
    """Return the column as part of a shard key. Raises UnsupportedSchema naming what is wrong."""
    where = f"{column.table.fullname}.{column.name}"
    if column.nullable:
        raise UnsupportedSchema(
            f"the shard key {where} may be NULL",
            hint="declare it nullable=False, or Mapped[int] instead of Mapped[int | None]",
        )
    if column.computed is not None or column.server_default is not None or is_counted(column):
        raise UnsupportedSchema(
            f"the shard key {where} gets its value from the server",
            hint="let the client give it: the router needs the key to find the shard"
            " (server_default=None, autoincrement=False; ids come from router.new_id)",
        )
    if isinstance(column.type.dialect_impl(_DIALECT), _VALUE_CHANGERS):
        raise UnsupportedSchema(
            f"the shard key {where} of type {column.type!r} is stored as another value than the"
            " client sees",
            hint="use a plain type, such as BigInteger, Text or Uuid",
        )
    name, modifier = server_type(column)
    return KeyColumn(column.name, key_type_of_column(where, name, type_modifier=modifier))


def is_counted(column: Column[Any]) -> bool:
    """True when each shard would count the values by itself: identity, serial, sequence."""
    if column.identity is not None or isinstance(column.default, Sequence):
        return True
    if "nextval(" in default_sql(column):
        return True
    is_serial = column.table.autoincrement_column is column and column.default is None
    return is_serial and column.server_default is None


def default_sql(column: Column[Any]) -> str:
    """Return the SQL of the column's server default, empty where it has none or a constant."""
    given = getattr(column.server_default, "arg", None)
    if not isinstance(given, ClauseElement):
        return ""
    return str(given.compile(dialect=_DIALECT)).lower()


def server_type(column: Column[Any]) -> tuple[str, int]:
    """Return Postgres' name of the column's type (``pg_type.typname``) and its modifier."""
    try:
        text = column.type.compile(dialect=_DIALECT)
    except CompileError:
        return repr(column.type), -1
    found = _TYPE.fullmatch(text.upper())
    if found is None:
        return text.lower(), -1
    written = found["name"] + (found["zone"] or "")
    is_length = isinstance(column.type, String)  # it does not change the text, nor its hash
    is_precision = found["size"] is not None and found["size"].isdecimal() and not is_length
    modifier = int(found["size"]) if is_precision else -1
    return _SERVER_NAMES.get(written, written.lower()), modifier
