"""What shards tell of types and collations must be mergeable and the same everywhere."""

from typing import Any

import pytest

from shardrouter.errors import CrossShardUnsupported
from shardrouter.routing.merge import (
    AGGREGATES,
    ColumnFacts,
    OrderKey,
    agree,
    check_settings,
    order_sql,
    read_facts,
    source_sql,
)

LIBC_DEFAULT = {"datlocprovider": "c", "datcollate": "en_US.utf8", "datlocale": None}
SETTINGS = {"TimeZone": "UTC", "extra_float_digits": "1"}


def answer(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "oid": 25, "type": "text", "kind": "b", "collatable": True, "labels": None,
        "collation": '"default"', "own": None, "own_version": None,
        "default": LIBC_DEFAULT, "default_version": "2.36",
    }  # fmt: skip
    return {**plain, **changes}


def own(provider: str, collate: str | None, locale: str | None = None) -> dict[str, Any]:
    return {
        "collprovider": provider,
        "collcollate": collate,
        "colllocale": locale,
        "collisdeterministic": True,
    }


@pytest.mark.parametrize(
    ("changes", "bytewise"),
    [
        ({}, False),
        ({"default": {**LIBC_DEFAULT, "datcollate": "C"}}, True),
        ({"default": {**LIBC_DEFAULT, "datcollate": "C", "datlocprovider": "i"}}, False),
        ({"default": {**LIBC_DEFAULT, "datlocprovider": "b", "datlocale": "C.UTF-8"}}, True),
        ({"own": own("c", "C"), "collation": '"C"'}, True),
        ({"own": own("c", "POSIX"), "collation": '"POSIX"'}, True),
        ({"own": own("c", "C.utf8"), "collation": '"C.utf8"'}, False),
        ({"own": own("b", None, "C.UTF-8"), "collation": "pg_c_utf8"}, True),
        ({"own": own("i", None, "und"), "collation": '"und-x-icu"'}, False),
        ({"collatable": False, "collation": None, "default": None}, False),
    ],
)
def test_only_some_collations_compare_bytes(changes: dict[str, Any], bytewise: bool) -> None:
    assert read_facts(answer(**changes)).bytewise is bytewise


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "p", "type": "record"}, "type record cannot be merged"),
        ({"collation": None}, "collation of an expression of type text is not determined"),
        ({"type": 'public."a; DROP"'}, "cannot be used in a merge"),
        ({"collation": '"it\'s"'}, "cannot be used in a merge"),
        ({"collation": '"a:b"'}, "cannot be used in a merge"),
    ],
)
def test_what_cannot_be_merged_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(CrossShardUnsupported, match=words):
        read_facts(answer(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"default": {**LIBC_DEFAULT, "datcollate": "C"}},
        {"default_version": "2.28"},
        {"default": {**LIBC_DEFAULT, "daticurules": "& a < b"}},
        {"own": own("i", None, "de"), "collation": '"de-x-icu"'},
        {"type": "character varying", "oid": 1043},
        {"labels": ["b", "a"]},
    ],
)
def test_shards_that_differ_are_refused(changes: dict[str, Any]) -> None:
    base = answer(labels=["a", "b"])
    answers = {"s0": [read_facts(base)], "s1": [read_facts({**base, **changes})]}
    with pytest.raises(CrossShardUnsupported, match="shards s0 and s1 disagree"):
        agree(answers)


def test_oids_may_differ_between_shards() -> None:
    """Each server gives its own OID to an enum or a type of an extension."""
    one, two = (read_facts(answer(oid=oid, labels=["a", "b"])) for oid in (16400, 16999))
    assert agree({"s0": [one], "s1": [two]}) == (one,)


def test_shards_with_other_settings_are_refused() -> None:
    check_settings({"s0": SETTINGS, "s1": dict(SETTINGS)})
    with pytest.raises(CrossShardUnsupported, match="TimeZone is 'UTC' on shard s0 and 'Asia/"):
        check_settings({"s0": SETTINGS, "s1": {**SETTINGS, "TimeZone": "Asia/Tokyo"}})
    with pytest.raises(CrossShardUnsupported, match="rounds floating point"):
        check_settings({"s0": {**SETTINGS, "extra_float_digits": "0"}})


def facts(type_name: str, collation: str | None = None) -> ColumnFacts:
    return ColumnFacts(0, type_name, None, collation, (), bytewise=False)


def test_values_travel_as_text_and_come_back_typed() -> None:
    columns = [facts("text", '"en_US"'), facts("numeric")]
    assert source_sql(columns, lambda i: f"${i + 1}") == (
        'SELECT CAST(u.sr_c0 AS text) COLLATE "en_US" AS sr_c0, CAST(u.sr_c1 AS numeric) AS sr_c1 '
        "FROM unnest(CAST($1 AS text[]), CAST($2 AS text[])) AS u(sr_c0, sr_c1)"
    )
    assert order_sql(columns, [OrderKey(True, False), OrderKey(False, True)], str).endswith(
        'ORDER BY CAST(u.sr_c0 AS text) COLLATE "en_US" DESC NULLS LAST, '
        "CAST(u.sr_c1 AS numeric) ASC NULLS FIRST, u.n"
    )


def test_parts_of_aggregates_are_combined_by_their_type() -> None:
    total = AGGREGATES["sum"].combine
    assert total(["a"], [facts("bigint")]) == "CAST(sum(a) AS bigint)"
    assert total(["a"], [facts("numeric")]) == "sum(a)"
    mean = AGGREGATES["avg"].combine
    assert mean(["a", "b"], [facts("numeric"), facts("bigint")]) == "(sum(a) / sum(b))"
    assert "float8_avg" in mean(["a", "b"], [facts("double precision"), facts("bigint")])
    with pytest.raises(CrossShardUnsupported, match="type real"):
        mean(["a", "b"], [facts("real"), facts("bigint")])
