"""Decide whether a column of a Postgres table can be a shard key, from what its catalog says."""

from collections.abc import Mapping
from typing import Final

from shardrouter.errors import UnsupportedSchema
from shardrouter.topology.table import KeyType

_KEY_TYPES: Final[Mapping[str, KeyType]] = {str(key_type): key_type for key_type in KeyType}
_TEXTS: Final = frozenset({KeyType.TEXT, KeyType.VARCHAR})
_TIMES: Final = frozenset({KeyType.TIMESTAMP, KeyType.TIMESTAMPTZ})
_EXACT_TIME: Final = 6  # digits of a second that a timestamp has when no precision is declared

_WHY_NOT: Final[Mapping[str, str]] = {
    "float4": "floats that print alike may differ, and -0 equals 0",
    "float8": "floats that print alike may differ, and -0 equals 0",
    "numeric": "equal numerics are written in many ways: 1, 1.0, 1.00",
    "money": "its value depends on the locale of the server",
    "bpchar": "char(n) is padded with blanks that do not count: use text",
    "name": "it is cut off at 63 bytes: use text",
    "citext": "it hashes the text in lower case by the rules of the server: use text",
    "jsonb": "equal documents are written in many ways: use one of its fields as a column",
    "json": "it has no equality: use one of its fields as a column",
    "bytea": "Postgres 15 has no hash function for it that SQL can call: use text or uuid",
    "bool": "it has two values, so at most two shards would hold rows",
}


def key_type_of_column(
    column: str,
    type_name: str,
    *,
    type_modifier: int = -1,
    has_deterministic_collation: bool = True,
    encoding: str = "UTF8",
) -> KeyType:
    """Return the key type of a column.

    ``column`` is for messages. ``type_name`` is ``pg_type.typname``, ``type_modifier``
    ``pg_attribute.atttypmod``, the next is ``pg_collation.collisdeterministic`` (True where the
    type has no collation), ``encoding`` that of the database. Raises UnsupportedSchema that
    says why the column cannot be a shard key.
    """
    key_type = _KEY_TYPES.get(type_name)
    if key_type is None:
        # Enums hash their OID, which differs on each shard; domains and ranges by their own rules.
        reason = _WHY_NOT.get(type_name, "it does not hash alike on every server and client")
        raise UnsupportedSchema(
            f"{column} of type {type_name} cannot be a shard key: {reason}",
            hint=f"use a column of type {', '.join(_KEY_TYPES)}",
        )
    if encoding != "UTF8":
        raise UnsupportedSchema(
            f"the shard key {column} is in a database with the encoding {encoding}",
            hint="make the database with ENCODING 'UTF8': other encodings hash other bytes",
        )
    if key_type in _TEXTS and not has_deterministic_collation:
        raise UnsupportedSchema(
            f"the shard key {column} has a nondeterministic collation",
            hint='use the default collation or "C": equal texts must have equal bytes',
        )
    if key_type in _TIMES and type_modifier not in (-1, _EXACT_TIME):
        raise UnsupportedSchema(
            f"the shard key {column} is rounded when stored",
            hint="leave out the precision: the shard is chosen before Postgres rounds",
        )
    return key_type
