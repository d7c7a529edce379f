"""Tell whether a statement does the same on every shard.

Pure. A reference table has the same rows on every shard, so what is written to it must not depend
on the server that runs it: its clock, its random numbers, its sequences.
"""

import re
from typing import Final

from sqlalchemy import Column, Computed, DefaultClause, Table
from sqlalchemy.sql.elements import TextClause

_QUOTED: Final = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")

_VOLATILE: Final = re.compile(
    r"\b(?:"
    r"(?P<call>now|clock_timestamp|statement_timestamp|transaction_timestamp|timeofday"
    r"|random|random_normal|gen_random_uuid|uuidv[47]|uuid_generate_v\w+"
    r"|nextval|currval|lastval|setval|txid_current\w*|pg_current_xact_id\w*"
    r"|pg_backend_pid|pg_current_wal\w*|inet_(?:client|server)_(?:addr|port))\s*\("
    r"|(?P<word>current_timestamp|current_date|current_time|localtimestamp|localtime)\b"
    r")",
    re.IGNORECASE,
)
"""Functions of pg_catalog and uuid-ossp whose value differs from server to server."""

_CONSTANT: Final = re.compile(
    r"\s*\(?\s*(?:null|true|false|[+-]?\d+(?:\.\d+)?|'(?:[^']|'')*')\s*\)?"
    r"(?:\s*::\s*[\w\s\[\]\"(),.]+)?\s*",
    re.IGNORECASE,
)

_INSERTED: Final = re.compile(r"\s*INSERT\s+INTO\s+[^(]+?\s*\((?P<columns>[^)]*)\)", re.IGNORECASE)


def volatile_word(statement: str) -> str | None:
    """Return the first word of an SQL text whose value is the server's own, or None."""
    found = _VOLATILE.search(_QUOTED.sub("''", statement))
    return None if found is None else (found["call"] or found["word"])


def volatile_default(statement: str, table: Table) -> str | None:
    """Return the column that a compiled INSERT leaves to a default of the server's own, or None.

    A default that is a constant, or computed from the row's other columns, is the same everywhere.
    """
    match = _INSERTED.match(statement)
    written = () if match is None else match["columns"].replace('"', "").split(", ")
    for column in table.columns:
        if column.name not in written and _is_made_by_server(column, table):
            return column.name
    return None


def _is_made_by_server(column: Column[object], table: Table) -> bool:
    default = column.server_default
    if column.identity is not None:
        return True
    if default is None:
        return column is table.autoincrement_column
    if isinstance(default, Computed):
        return False
    if isinstance(default, DefaultClause):
        if isinstance(default.arg, str):
            return False
        if isinstance(default.arg, TextClause):
            return _CONSTANT.fullmatch(default.arg.text) is None
    return True
