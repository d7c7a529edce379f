"""The SQL that asks a backend what its session holds, and that gives it another session's settings.

Pure: SQL out, rows in. Everything is qualified with pg_catalog, operators too, since search_path
is the client's. Only ASCII is sent and only ASCII comes back, whatever client_encoding is, and
literals mean the same with standard_conforming_strings off. To be run when no transaction is open.

A setting given at startup has the source 'client', not 'session': it is no residue, and RESET
returns to it. Not told by the server, so not seen: lastval() (DISCARD SEQUENCES takes it away),
what Effect.FOREVER is about, settings ``myapp.tenant`` that are not asked for by name, and
statement_timeout when it was set to the value it has anyway. A real number comes back with the six
digits the server shows.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

DISCARD_SQL: Final = "DISCARD ALL"
"""Cleans a backend but for what Effect.FOREVER is about. Also drops the prepared statements of the
protocol. Settings like ``myapp.tenant`` are '' afterwards, not NULL. To be sent alone."""

NO_ROLE: Final = "none"

_CUSTOM_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)+")

_UNHURRIED: Final = (
    # A serializable transaction may wait for others, and is refused on a hot standby.
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; {}"
    # The client's may be 1 ms. It counts for each statement of a text anew.
    "SET LOCAL statement_timeout = 0; "
)

_TIMEOUT: Final = (
    "SELECT 'timeout'::pg_catalog.text, 'statement_timeout'::pg_catalog.text, "
    "pg_catalog.current_setting('statement_timeout'); "
)

_HEX: Final = "pg_catalog.encode(pg_catalog.convert_to({}, 'UTF8'), 'hex')"

_SETTINGS: Final = f"""\
SELECT CASE WHEN name OPERATOR(pg_catalog.=) 'statement_timeout' THEN 'reset' ELSE 'setting' END, \
name, \
{
    _HEX.format(
        "CASE WHEN name OPERATOR(pg_catalog.=) 'statement_timeout' THEN reset_val ELSE setting END"
    )
} \
FROM pg_catalog.pg_settings \
WHERE source OPERATOR(pg_catalog.=) 'session' AND name OPERATOR(pg_catalog.<>) ALL \
('{{transaction_isolation,transaction_read_only,transaction_deferrable}}'::pg_catalog.text[]) \
UNION ALL SELECT 'identity', name, {_HEX.format("pg_catalog.current_setting(name)")} \
FROM pg_catalog.unnest('{{role,session_authorization}}'::pg_catalog.text[]) AS identity(name)"""

# The server lists a setting of no loaded library nowhere; it is told from others by its flag.
_CUSTOM: Final = f"""
UNION ALL SELECT 'setting', name, CASE WHEN 'NO_SHOW_ALL' OPERATOR(pg_catalog.=) \
ANY (pg_catalog.pg_settings_get_flags(name)) \
THEN {_HEX.format("pg_catalog.current_setting(name, true)")} END \
FROM pg_catalog.unnest(ARRAY[{{}}]::pg_catalog.text[]) AS custom(name)"""

_PINS: Final = {
    "LISTEN": "pg_catalog.pg_listening_channels()",
    "advisory lock": (
        "pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'advisory' "
        "AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()"
    ),
    "cursor WITH HOLD": "pg_catalog.pg_cursors WHERE is_holdable",
    "temporary table": (  # or type, function, operator: all depend on the schema of the session
        "pg_catalog.pg_depend WHERE refclassid OPERATOR(pg_catalog.=) "
        "'pg_catalog.pg_namespace'::pg_catalog.regclass "
        "AND refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()"
    ),
    "PREPARE": (  # but those the proxy prepared for whoever comes: they are nobody's
        "pg_catalog.pg_prepared_statements WHERE from_sql "
        "AND name OPERATOR(pg_catalog.!~) '^_sr[0-9]+$'"
    ),
}

_UNIT_MS: Final = {"ms": 1, "s": 1_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


@dataclass(frozen=True, slots=True)
class Residue:
    """What a session holds beyond what its startup gave it."""

    settings: tuple[tuple[str, str], ...] = ()
    """Sorted, in the units set_config() takes."""

    role: str = NO_ROLE
    session_authorization: str = ""
    """Empty: the user who logged in."""

    pins: tuple[str, ...] = ()
    """What only this backend has, as reasons."""


def inspection_sql(custom_names: Iterable[str], *, with_pins: bool = True) -> str:
    """Return a text for a simple query that answers with rows (kind, name, value).

    ``custom_names`` are settings like ``myapp.tenant`` that may have been set; names without a dot
    and those Postgres would refuse are left out. Without pins it costs half of the time. The text
    has several statements: rows of all of them count. Fails only as any query may; the session is
    then to be taken for unknown.
    """
    sql = _UNHURRIED.format(_TIMEOUT) + _SETTINGS
    custom = sorted({name.lower() for name in custom_names if _CUSTOM_NAME.fullmatch(name)})
    if custom:
        sql += _CUSTOM.format(", ".join(literal(name) for name in custom))
    if with_pins:
        for reason, place in _PINS.items():
            sql += (
                f"\nUNION ALL SELECT 'pin', {literal(reason)}, NULL "
                f"WHERE EXISTS (SELECT FROM {place})"
            )
    return sql


def read_inspection(rows: Sequence[tuple[str | None, ...]], login_user: str) -> Residue:
    """Return what the rows of an inspection say. ``login_user`` is who the backend logged in as."""
    settings: dict[str, str] = {}
    identity: dict[str, str] = {}
    pins: list[str] = []
    timeout = 0
    for kind, name, value in rows:
        assert name is not None
        if kind == "pin":
            pins.append(name)
        elif kind == "timeout":
            timeout = _milliseconds(value or "0")
        elif value is not None:
            decoded = bytes.fromhex(value).decode()
            if kind == "identity":
                identity[name] = decoded
            elif kind == "reset":
                if timeout != int(decoded):
                    settings[name] = str(timeout)
            elif decoded or "." not in name:  # '' is what a custom setting is after RESET
                settings[name.lower()] = decoded
    user = identity.get("session_authorization", login_user)
    return Residue(
        settings=tuple(sorted(settings.items())),
        role=identity.get("role", NO_ROLE),
        session_authorization="" if user == login_user else user,
        pins=tuple(pins),
    )


def _milliseconds(shown: str) -> int:
    """Return a time as SHOW tells it: a number with a unit, or 0."""
    number = shown.rstrip("abcdefghijklmnopqrstuvwxyz")
    return int(number) * _UNIT_MS.get(shown[len(number) :], 1)


def sync_sql(have: Residue, want: Residue) -> str:
    """Return a text for a simple query that makes the settings and roles of ``have`` those of
    ``want``, or nothing when they are. All or nothing: one transaction. Its rows say nothing.

    Pins are not moved. Settings are given as the user who logged in, who was allowed to; then come
    the session's user and its role.
    """
    had, wanted = dict(have.settings), dict(want.settings)
    identity = (want.session_authorization, want.role)
    is_same_identity = (have.session_authorization, have.role) == identity
    if had == wanted and is_same_identity:
        return ""
    sql = _UNHURRIED.format("")
    has_identity = (have.session_authorization, have.role) != ("", NO_ROLE)
    if has_identity:
        sql += "RESET SESSION AUTHORIZATION; RESET ROLE; "
    if has_identity or had.keys() - wanted.keys():
        # Also takes away what was not seen: some settings are hidden from a role without rights.
        sql += "RESET ALL; "
        had = {}
    changes = [(name, value) for name, value in wanted.items() if had.get(name) != value]
    changes.sort(key=lambda change: (change[0].endswith("_timeout"), change[0]))
    if want.session_authorization:
        changes.append(("session_authorization", want.session_authorization))
    if want.role != NO_ROLE:
        changes.append(("role", want.role))
    return sql + "; ".join(_setting(name, value) for name, value in changes)


def _setting(name: str, value: str) -> str:
    # IS NULL: the value itself might not be expressible in the client_encoding of the moment.
    return f"SELECT pg_catalog.set_config({literal(name)}, {literal(value)}, false) IS NULL"


def literal(text: str) -> str:
    """Return a text as a literal in ASCII, whatever the settings are that change how one is read.

    Postgres' strings have no character 0: Raises ValueError.
    """
    if "\0" in text:
        raise ValueError("a text for Postgres cannot hold a zero byte")
    quoted = text.replace("'", "''")
    if quoted.isascii() and "\\" not in quoted:
        return f"'{quoted}'"
    escaped = "".join(
        character if character.isascii() else f"\\U{ord(character):08x}"
        for character in quoted.replace("\\", "\\\\")
    )
    return f"E'{escaped}'"
