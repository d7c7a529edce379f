"""Statements a proxy acts on are read with their places; what is not read is said to be so."""

import pytest

from shardrouter.sql import (
    Begin,
    Deallocate,
    Discard,
    DiscardKind,
    Effect,
    Execute,
    OwnSetting,
    Prepare,
    ResetAll,
    SettingVerb,
    Statement,
    effects_of,
)


def only(text: str) -> Statement:
    [statement] = effects_of(text.encode()).statements
    return statement


@pytest.mark.parametrize(
    ("text", "name", "types", "body"),
    [
        ("PREPARE p AS SELECT 1", "p", "", "SELECT 1"),
        ("prepare P (int, numeric(5, 2)) as select $1;", "p", "(int, numeric(5, 2))", "select $1"),
        ('PREPARE "A ""b" /* x */ AS /* y */ TABLE t -- z', 'A "b', "", "TABLE t"),
        ("PREPARE transaction AS SELECT 1", "transaction", "", "SELECT 1"),
        (
            "PREPARE p(text) AS INSERT INTO t VALUES ($1)",
            "p",
            "(text)",
            "INSERT INTO t VALUES ($1)",
        ),
        (f"PREPARE {'a' * 70} AS SELECT 1", "a" * 63, "", "SELECT 1"),
        (f'PREPARE "{"ä" * 40}" AS SELECT 1', "ä" * 31, "", "SELECT 1"),
    ],
)
def test_prepare(text: str, name: str, types: str, body: str) -> None:
    found = only(text)
    assert isinstance(found, Prepare)
    assert (found.name.value, found.types, found.body) == (
        name.encode(),
        types.encode(),
        body.encode(),
    )
    raw = text.encode()
    assert raw[found.body_start :].startswith(found.body)
    assert found.flags == Effect.STATEMENTS
    renamed = raw[: found.name.start] + b'"other"' + raw[found.name.end :]
    again = only(renamed.decode())
    assert isinstance(again, Prepare)
    assert (again.name.value, again.body) == (b"other", found.body)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("EXECUTE p", "p"),
        ("execute P ($1, 'a');", "p"),
        ('EXECUTE "P"', "P"),
        ("EXPLAIN EXECUTE p", "p"),
        ("EXPLAIN ANALYZE VERBOSE EXECUTE p(1)", "p"),
        ("EXPLAIN (ANALYZE, FORMAT json) EXECUTE p(1)", "p"),
        ("CREATE TABLE x AS EXECUTE p(1) WITH NO DATA", "p"),
        ("CREATE TEMP TABLE x (a, b) WITH (fillfactor = 10) AS EXECUTE p", "p"),
        ("EXPLAIN ANALYZE CREATE UNLOGGED TABLE IF NOT EXISTS x AS EXECUTE p", "p"),
    ],
)
def test_execute(text: str, name: str) -> None:
    found = only(text)
    assert isinstance(found, Execute)
    assert found.name.value == name.encode()
    raw = text.encode()
    renamed = raw[: found.name.start] + b'"other"' + raw[found.name.end :]
    again = only(renamed.decode())
    assert isinstance(again, Execute)
    assert again.name.value == b"other"


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TABLE x AS SELECT a AS execute FROM t",
        "CREATE TABLE x (a int GENERATED ALWAYS AS (1) STORED)",
        "CREATE TRIGGER a AFTER INSERT ON t EXECUTE FUNCTION f()",
        "SELECT execute FROM t",
        "PREPARE TRANSACTION 'x'",
    ],
)
def test_what_is_no_execute(text: str) -> None:
    assert type(only(text)) is Statement
    assert Effect.STATEMENTS not in effects_of(text.encode()).flags


@pytest.mark.parametrize("text", ['PREPARE U&"p" AS SELECT 1', "PREPARE p", 'EXECUTE U&"p"(1)'])
def test_names_that_cannot_be_replaced_pin(text: str) -> None:
    assert type(only(text)) is Statement
    assert Effect.MAY_PIN | Effect.SUSPECT in effects_of(text.encode()).flags


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("DEALLOCATE p", b"p"),
        ("DEALLOCATE PREPARE P", b"p"),
        ("DEALLOCATE prepare", b"prepare"),
        ('DEALLOCATE "all"', b"all"),
        ("DEALLOCATE ALL", None),
        ("DEALLOCATE PREPARE ALL", None),
    ],
)
def test_deallocate(text: str, name: bytes | None) -> None:
    found = only(text)
    assert isinstance(found, Deallocate)
    assert (found.name and found.name.value) == name


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("DISCARD ALL", DiscardKind.ALL),
        ("discard plans", DiscardKind.PLANS),
        ("DISCARD SEQUENCES", DiscardKind.SEQUENCES),
        ("DISCARD TEMP", DiscardKind.TEMP),
        ("DISCARD TEMPORARY", DiscardKind.TEMP),
    ],
)
def test_discard(text: str, what: DiscardKind) -> None:
    found = only(text)
    assert isinstance(found, Discard)
    assert found.what is what


@pytest.mark.parametrize(
    ("text", "verb", "name", "value"),
    [
        ("SET shardrouter.key TO 42", SettingVerb.SET, "key", "42"),
        ("SET SESSION shardrouter.key = -42", SettingVerb.SET, "key", "-42"),
        ("SET shardrouter.key =+007;", SettingVerb.SET, "key", "7"),
        ("SET shardrouter.key = 99999999999", SettingVerb.SET, "key", "99999999999"),
        ("SET shardrouter.key = 1.50", SettingVerb.SET, "key", "1.50"),
        ("SET shardrouter.role TO Replica", SettingVerb.SET, "role", "replica"),
        ('SET shardrouter.role TO "Replica"', SettingVerb.SET, "role", "Replica"),
        ("set ShardRouter . Role to 'a''b\\'", SettingVerb.SET, "role", "a'b\\"),
        ('SET "shardrouter.key" = on', SettingVerb.SET, "key", "on"),
        ("SET shardrouter.key = E'\\x41\\'\\n\\u00e4'", SettingVerb.SET, "key", "A'\nä"),
        ("SET shardrouter.key = E'a'\n'\\'b'", SettingVerb.SET, "key", "a'b"),
        ("SET shardrouter.key = 'a' -- c\n  'b'", SettingVerb.SET, "key", "ab"),
        ("SET shardrouter.key = $q$a'b$q$", SettingVerb.SET, "key", "a'b"),
        ("SET shardrouter.key = DEFAULT", SettingVerb.SET, "key", None),
        ("RESET shardrouter.key", SettingVerb.RESET, "key", None),
        ("SHOW shardrouter.token", SettingVerb.SHOW, "token", None),
    ],
)
def test_own_settings(text: str, verb: SettingVerb, name: str, value: str | None) -> None:
    found = only(text)
    assert isinstance(found, OwnSetting)
    assert (found.verb, found.name, found.value) == (verb, f"shardrouter.{name}", value)
    assert not found.is_local
    assert effects_of(text.encode()).flags == Effect.OWN_SETTING


def test_own_setting_for_a_transaction() -> None:
    found = only("SET LOCAL shardrouter.key = 1")
    assert isinstance(found, OwnSetting)
    assert found.is_local


@pytest.mark.parametrize(
    "text",
    [
        "SET shardrouter.key = a, b",
        "SET shardrouter.key = N'x'",
        "SET shardrouter.key = U&'x'",
        "SET shardrouter.key = B'1'",
        "SET shardrouter.key = $1",
        "SET shardrouter.key =",
        "SET shardrouter.key FROM CURRENT",
        'SET U&"shardrouter.key" = 1',
        "SHOW shardrouter.key.",
        "SELECT set_config('shardrouter.key', '1', false)",
        "SET shardrouter.key = 'a' 'b'",
    ],
)
def test_own_settings_in_other_forms_are_unreadable(text: str) -> None:
    assert effects_of(text.encode()).own_setting_unreadable


def test_other_settings_are_not_the_proxys() -> None:
    assert not effects_of(b"SET application_name = 'shardrouter'").own_setting_unreadable
    assert isinstance(only("RESET ALL"), ResetAll)


@pytest.mark.parametrize(
    ("text", "read_only", "isolation", "deferrable"),
    [
        ("BEGIN", None, None, None),
        ("BEGIN WORK READ ONLY", True, None, None),
        ("START TRANSACTION READ WRITE", False, None, None),
        ("BEGIN READ ONLY, READ WRITE", False, None, None),
        ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", True, "repeatable read", None),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE", True, "serializable", True),
        ("BEGIN NOT DEFERRABLE", None, None, False),
        ("BEGIN ISOLATION LEVEL READ COMMITTED", None, "read committed", None),
    ],
)
def test_begin(
    text: str, read_only: bool | None, isolation: str | None, deferrable: bool | None
) -> None:
    found = only(text)
    assert isinstance(found, Begin)
    assert (found.read_only, found.isolation, found.deferrable) == (
        read_only,
        isolation,
        deferrable,
    )
    assert (Effect.READ_ONLY_BEGIN in found.flags) is bool(read_only)


def test_statements_have_their_places_and_flags() -> None:
    text = b" /* a */ SELECT 1 ; -- b\n LISTEN x; ; SET a.b = ';' ;"
    found = effects_of(text).statements
    assert [text[s.start : s.end] for s in found] == [b"SELECT 1", b"LISTEN x", b"SET a.b = ';'"]
    assert [s.flags for s in found] == [Effect.NONE, Effect.MAY_PIN, Effect.SETTINGS]


def test_a_semicolon_in_a_body_ends_no_more_than_it_does() -> None:
    text = b"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 AS end; END; LISTEN x"
    assert Effect.MAY_PIN in effects_of(text).statements[-1].flags
