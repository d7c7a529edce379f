"""What a Postgres says about the types and collations that a merge depends on.

Pure: the SQL to ask with, the reading of the answers, and whether all shards agree.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shardrouter.errors import CrossShardUnsupported

REPORTED_SETTINGS: Final = ("server_encoding", "TimeZone", "DateStyle", "IntervalStyle")
"""Settings that change what an expression yields and that a server tells unasked."""

SETTINGS_SQL: Final = (
    "json_build_object("
    + ", ".join(
        f"'{name}', current_setting('{name}')"
        for name in (*REPORTED_SETTINGS, "extra_float_digits", "lc_monetary")
    )
    + ")"
)
"""SQL expression: the settings that say how a value looks as text, and how texts are read."""

_SAFE_NAME: Final = re.compile(r'[\w .,@="()\[\]-]+')
"""Names of types and collations come quoted from the server and are put into SQL as they are."""


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """The type and collation of one expression, as a Postgres resolves them."""

    oid: int
    type_name: str
    """As SQL text, quoted and with a schema where needed."""

    labels: tuple[str, ...] | None
    """Labels of an enum, in order."""

    collation: str | None
    """As SQL text; None for a type without collation."""

    collation_makeup: tuple[Any, ...]
    """Provider, locale, determinism and library version behind the name."""

    bytewise: bool
    """The collation compares bytes."""


def facts_sql(column: str) -> str:
    """Return an SQL expression: a JSON object on a column, given as SQL text.

    Evaluated even where the column has no row, so that empty tables answer too. The type is named
    as without a length: "character" would mean one character.
    """
    collatable = "(SELECT y.typcollation <> 0 FROM pg_catalog.pg_type y WHERE y.oid = {t})".format(
        t=f"pg_typeof({column})"
    )
    collation = f"CASE WHEN {collatable} THEN CAST(pg_collation_for({column}) AS regcollation) END"
    return f"""(SELECT json_build_object(
        'oid', CAST(t.oid AS bigint), 'type', format_type(t.oid, -1), 'kind', t.typtype,
        'collatable', t.typcollation <> 0,
        'labels', (SELECT json_agg(e.enumlabel ORDER BY e.enumsortorder)
                   FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid),
        'collation', CASE WHEN c.oid IS NOT NULL THEN pg_collation_for({column}) END,
        'own', CASE WHEN c.collprovider <> 'd' THEN to_json(c.*) END,
        'own_version', pg_collation_actual_version(c.oid),
        'default', to_json(d.*), 'default_version', pg_database_collation_actual_version(d.oid))
      FROM pg_catalog.pg_type t
      LEFT JOIN pg_catalog.pg_collation c ON c.oid = {collation}
      LEFT JOIN pg_catalog.pg_database d
             ON c.collprovider = 'd' AND d.datname = current_database()
      WHERE t.oid = pg_typeof({column}))"""


def read_facts(answer: Mapping[str, Any]) -> ColumnFacts:
    """Read what ``facts_sql`` returned. Raises CrossShardUnsupported on what cannot be merged."""
    type_name, collation = answer["type"], answer["collation"]
    if answer["kind"] == "p":
        raise CrossShardUnsupported(
            f"values of type {type_name} cannot be merged",
            hint="cast the expression to a plain type",
        )
    if answer["collatable"] and collation is None:
        raise CrossShardUnsupported(
            f"the collation of an expression of type {type_name} is not determined",
            hint="say which one with collate(expression, name)",
        )
    for name in (type_name, collation):
        if name is not None and _SAFE_NAME.fullmatch(name) is None:
            raise CrossShardUnsupported(
                f"the name {name!r} cannot be used in a merge", hint="rename the type or collation"
            )
    makeup, bytewise = _makeup(answer)
    labels = answer["labels"]
    return ColumnFacts(
        oid=answer["oid"],
        type_name=type_name,
        labels=None if labels is None else tuple(labels),
        collation=collation,
        collation_makeup=makeup,
        bytewise=bytewise,
    )


def _makeup(answer: Mapping[str, Any]) -> tuple[tuple[Any, ...], bool]:
    own, default = answer["own"], answer["default"]
    if own is not None:
        provider, collate = own["collprovider"], own["collcollate"]
        locale = (own.get("colllocale", own.get("colliculocale")), own.get("collicurules"))
        version, deterministic = answer["own_version"], own["collisdeterministic"]
    elif default is not None:
        provider, collate = default["datlocprovider"], default["datcollate"]
        locale = (default.get("datlocale", default.get("daticulocale")), default.get("daticurules"))
        version, deterministic = answer["default_version"], True
    else:
        return (), False
    # The built-in provider compares bytes in all its locales; libc only in C and POSIX.
    bytewise = provider == "b" or (provider == "c" and collate in ("C", "POSIX"))
    return (provider, collate, locale, deterministic, version), bytewise


def agree(answers: Mapping[str, Sequence[ColumnFacts]]) -> tuple[ColumnFacts, ...]:
    """Return the one answer of all shards. Raises CrossShardUnsupported when they differ.

    OIDs may differ: those of enums and extensions are given out by each server.
    """
    (first, expected), *others = answers.items()
    for shard, facts in others:
        for ours, theirs in zip(expected, facts, strict=True):
            if _comparable(ours) != _comparable(theirs):
                raise CrossShardUnsupported(
                    f"shards {first} and {shard} disagree on a type or collation: "
                    f"{_told(ours)} and {_told(theirs)}",
                    hint="bring the schemas, collations and C or ICU libraries of the shards "
                    "to the same state (shardrouter migrate)",
                )
    return tuple(expected)


def check_settings(answers: Mapping[str, Mapping[str, str | None]]) -> None:
    """Raise CrossShardUnsupported unless all shards read and write values alike."""
    (first, expected), *others = answers.items()
    if int(expected.get("extra_float_digits") or 1) < 1:
        raise CrossShardUnsupported(
            f"shard {first} rounds floating point numbers in text",
            hint="set extra_float_digits to 1, the default of Postgres",
        )
    for shard, settings in others:
        for name, value in settings.items():
            if value != expected[name]:
                raise CrossShardUnsupported(
                    f"setting {name} is {expected[name]!r} on shard {first} "
                    f"and {value!r} on shard {shard}",
                    hint="give all shards the same setting (ALTER DATABASE ... SET)",
                )


def _comparable(facts: ColumnFacts) -> tuple[object, ...]:
    return (facts.type_name, facts.labels, facts.collation, facts.collation_makeup)


def _told(facts: ColumnFacts) -> str:
    labels = f" with the labels {', '.join(facts.labels)}" if facts.labels else ""
    collation = f" with the collation {facts.collation} {facts.collation_makeup}"
    return f"{facts.type_name}{labels}{collation if facts.collation else ''}"
