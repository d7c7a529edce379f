"""Postgres' own functions, and those of its extensions, that keep something in the session.

Whatever a user's function does inside is not seen; it is treated as doing nothing.
"""

from typing import Final

from shardrouter.sql.effects import Effect
from shardrouter.sql.token_reader import TokenReader

ADVISORY_LOCK: Final = "advisory lock"

ANY_CODE: Final = Effect.SUSPECT | Effect.SETTINGS | Effect.MAY_PIN | Effect.MAY_UNPIN
"""What code that is not read may do. For the rest certain words must be in it (``flags_of_words``),
since it costs the client more than a question to the server."""

SESSION_FUNCTIONS: Final[dict[bytes, tuple[Effect, str | None]]] = {
    b"set_config": (Effect.SETTINGS, None),
    b"set_limit": (Effect.SETTINGS, None),  # pg_trgm: SET pg_trgm.similarity_threshold
    b"pg_advisory_lock": (Effect.MAY_PIN, ADVISORY_LOCK),
    b"pg_advisory_lock_shared": (Effect.MAY_PIN, ADVISORY_LOCK),
    b"pg_try_advisory_lock": (Effect.MAY_PIN, ADVISORY_LOCK),
    b"pg_try_advisory_lock_shared": (Effect.MAY_PIN, ADVISORY_LOCK),
    b"pg_advisory_unlock": (Effect.MAY_UNPIN, None),
    b"pg_advisory_unlock_shared": (Effect.MAY_UNPIN, None),
    b"pg_advisory_unlock_all": (Effect.MAY_UNPIN, None),
    b"lastval": (Effect.SEQUENCE, None),
    b"currval": (Effect.SEQUENCE, None),
    b"setval": (Effect.SEQUENCE, None),
    b"nextval": (Effect.NEXTVAL, None),
    b"setseed": (Effect.FOREVER, "setseed"),
    b"dblink_connect": (Effect.FOREVER, "dblink connection"),
    b"dblink_connect_u": (Effect.FOREVER, "dblink connection"),
    b"pg_replication_origin_session_setup": (Effect.FOREVER, "replication origin"),
    b"pg_replication_origin_xact_setup": (Effect.FOREVER, "replication origin"),
    # They may be asked for a slot that lives as long as the session.
    b"pg_create_physical_replication_slot": (Effect.FOREVER, "replication slot"),
    b"pg_create_logical_replication_slot": (Effect.FOREVER, "replication slot"),
    b"pg_copy_physical_replication_slot": (Effect.FOREVER, "replication slot"),
    b"pg_copy_logical_replication_slot": (Effect.FOREVER, "replication slot"),
    b"pg_backup_start": (Effect.FOREVER, "backup"),
    b"sepgsql_setcon": (Effect.FOREVER, "sepgsql label"),
    **dict.fromkeys(
        (
            # They run SQL that is given to them as text.
            b"query_to_xml",
            b"query_to_xmlschema",
            b"query_to_xml_and_xmlschema",
            b"ts_stat",
            b"ts_rewrite",
            b"crosstab",
            b"crosstab2",
            b"crosstab3",
            b"crosstab4",
            b"crosstabn",
            b"connectby",
            b"xpath_table",
        ),
        (ANY_CODE, None),
    ),
}


def called_functions(reader: TokenReader) -> list[tuple[bytes, int]]:
    """Return the functions of ``SESSION_FUNCTIONS`` a statement calls: name, and where "(" is.

    The schema does not matter: a function of the same name in another schema is taken for it.
    """
    found = []
    for at in range(1, len(reader.tokens)):
        if reader.written(at) == b"(":
            name = reader.name_at(at - 1)
            if name in SESSION_FUNCTIONS:
                found.append((name, at))
    return found


def flags_of_words(text: bytes) -> Effect:
    """Return what SQL that is not read may do beyond ANY_CODE, going by the words in it."""
    low = text.lower().decode("latin-1")
    flags = Effect.NONE
    for effect, words in _WORDS.items():
        if any(word in low for word in words):
            flags |= effect
    return flags


_ANY_NAME: Final = 'u&"'  # spells a name in other letters
_WORDS: Final = {
    Effect.UNKNOWN_SETTING: ("set", "execute", _ANY_NAME),
    Effect.SEQUENCE: ("lastval", "currval", "setval", _ANY_NAME),
    Effect.FOREVER: (
        "seed",
        "load",
        "dblink",
        "replication_",
        "pg_backup",
        "sepgsql",
        _ANY_NAME,
    ),
}
