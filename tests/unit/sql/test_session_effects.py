"""What a text may leave in a session is told from its words, never from what is in quotes."""

import pytest

from shardrouter.sql import LEAVES_SOMETHING, Effect, effects_of, is_plain
from shardrouter.sql.plain import may_call
from shardrouter.sql.session_effects import LONGEST_READ_BYTES, unread
from shardrouter.sql.session_functions import SESSION_FUNCTIONS
from tests.support.session_statements import (
    FOREVER,
    HARMLESS,
    LEAVING,
    PIN,
    PLAIN,
    SEQUENCE,
    SETTING,
    STATEMENTS,
    SUSPECT,
    UNKNOWN,
)


@pytest.mark.parametrize("text", LEAVING)
def test_what_is_left_is_flagged(text: str) -> None:
    wanted = LEAVING[text]
    assert wanted in effects_of(text.encode()).flags
    assert not is_plain(text.encode())


@pytest.mark.parametrize("text", (*PLAIN, *HARMLESS))
def test_what_leaves_nothing_is_not_flagged(text: str) -> None:
    assert not effects_of(text.encode()).flags & LEAVES_SOMETHING


@pytest.mark.parametrize("text", PLAIN)
@pytest.mark.parametrize("end", ["", ";", " ; \n", ";;"])
def test_plain_texts_are_told_at_once(text: str, end: str) -> None:
    assert is_plain((text + end).encode()) is (text != "" and text != ";")
    assert is_plain((text.upper() + end).encode()) is (text not in ("", ";"))


@pytest.mark.parametrize("text", HARMLESS)
def test_what_may_mislead_is_read_in_full(text: str) -> None:
    assert not is_plain(text.encode())


def test_every_function_is_looked_for() -> None:
    """Else is_plain would call a statement plain that calls it."""
    assert not [name for name in SESSION_FUNCTIONS if not may_call(name.decode())]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("SET Work_Mem = 1", ("work_mem",)),
        ("SET myapp.tenant TO '5'", ("myapp.tenant",)),
        ('SET "MyApp" . tenant TO 5', ("myapp.tenant",)),
        ('SET "myapp.tenant" TO 5', ("myapp.tenant",)),
        ("SET session.tenant = 5", ("session.tenant",)),
        ("SET LOCAL local.tenant = 5", ("local.tenant",)),
        ("SET SESSION myapp.tenant = 5", ("myapp.tenant",)),
        ("SET x =-1", ("x",)),
        ("SET transaction.x = 1", ("transaction.x",)),
        ("SET role = 'a'", ("role",)),
        ("SET ROLE a", ("role",)),
        ("SET SESSION SESSION AUTHORIZATION a", ("session_authorization",)),
        ("SET LOCAL SESSION AUTHORIZATION a", ("session_authorization",)),
        ("SET NAMES 'x'; SET TIME ZONE LOCAL", ("client_encoding", "timezone")),
        ("RESET myapp.tenant", ("myapp.tenant",)),
        ("RESET TIME ZONE", ("timezone",)),
        ("SELECT set_config('MyApp.Tenant', $1, false)", ("myapp.tenant",)),
        ("SELECT set_config(E'a\\x2eb', $1, false)", ("a.b",)),
        ("SELECT set_config($$a.b$$, $1, false)", ("a.b",)),
        ("SELECT set_config('a'\n'.b', $1, false)", ("a.b",)),
        ("DO $$ BEGIN PERFORM set_config('a.b', '1', false); END $$", ("a.b",)),
        ("SELECT set_limit(0.1)", ("pg_trgm.similarity_threshold",)),
    ],
)
def test_settings_are_named(text: str, names: tuple[str, ...]) -> None:
    effects = effects_of(text.encode())
    assert effects.setting_names == names
    assert not effects.unknown_setting


@pytest.mark.parametrize(
    "text",
    [
        "SELECT set_config('a.b'::text, '1', false)",
        "SELECT set_config(setting_name => 'a.b', new_value => '1', is_local => false)",
        "SELECT set_config(U&'\\0041.b', '1', false)",
        "SELECT set_config('tén.ant', '1', false)",
        "SET tén.ant = 1",
        'SET U&"a\\002eb" = 1',
        "SET a b",
        "RESET",
    ],
)
def test_settings_whose_name_is_not_read_are_unknown(text: str) -> None:
    assert effects_of(text.encode()).unknown_setting


@pytest.mark.parametrize(
    ("text", "pins"),
    [
        ("CREATE TEMP TABLE a (b int)", ("temporary table",)),
        ("CREATE TEMP TABLE a (b int) ON COMMIT DROP", ()),
        ("CREATE TEMP TABLE a ON COMMIT DROP AS SELECT 1", ()),
        ("CREATE TABLE a (temp int)", ()),
        ("SELECT 1 INTO TEMP a", ("temporary table",)),
        ("SELECT 1 INTO a", ()),
        ("LISTEN a; LISTEN b; SELECT pg_advisory_lock(1)", ("LISTEN", "advisory lock")),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", ("cursor WITH HOLD",)),
        ("LOAD 'x'", ("LOAD",)),
        ("SELECT setseed(0)", ("setseed",)),
    ],
)
def test_reasons_to_keep_a_backend_are_told(text: str, pins: tuple[str, ...]) -> None:
    assert effects_of(text.encode()).pins == pins


@pytest.mark.parametrize(
    "text",
    ["UNLISTEN *", "SELECT pg_advisory_unlock(1)", "CLOSE c", "DROP TABLE t", "DISCARD TEMP"],
)
def test_what_may_end_a_pin(text: str) -> None:
    assert Effect.MAY_UNPIN in effects_of(text.encode()).flags


def test_backslashes_end_no_string_where_strings_are_not_standard() -> None:
    text = rb"SELECT '\'; LISTEN x; --'"
    assert Effect.MAY_PIN in effects_of(text).flags
    assert not effects_of(text, standard_strings=False).flags & LEAVES_SOMETHING
    hidden = rb"SELECT '\\'; LISTEN x"
    assert Effect.MAY_PIN in effects_of(hidden, standard_strings=False).flags


def test_characters_that_may_hold_a_backslash_make_a_text_unreadable() -> None:
    text = "SELECT E'表'; LISTEN x; --'".encode("shift_jis")
    assert effects_of(text, ascii_safe=False) == unread(text)
    assert not effects_of(b"SELECT 1", ascii_safe=False).flags & LEAVES_SOMETHING


@pytest.mark.parametrize("text", ["SELECT 'a", "SELECT 1 /* /* */", "SELECT $a$ $b$", 'TABLE "a'])
def test_what_is_not_closed_is_not_read(text: str) -> None:
    """Postgres refuses it, if it reads it so."""
    assert effects_of(text.encode()) == unread(text.encode())


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("INSERT INTO t VALUES (';')", SUSPECT | PIN | SETTING | STATEMENTS),
        ("SELECT 1; SET a.b = 1", SUSPECT | UNKNOWN),
        ("SELECT 1; SELECT setseed(1)", SUSPECT | UNKNOWN | FOREVER),
        ("SELECT 1; LOAD 'x'", SUSPECT | FOREVER),
        ("SELECT 1; SELECT lastval()", SUSPECT | SEQUENCE),
        ("SELECT 1; DO 'BEGIN EXECUTE f(); END'", SUSPECT | UNKNOWN),
    ],
)
def test_of_what_is_too_long_only_the_words_are_seen(text: str, flags: Effect) -> None:
    long = text.encode() + b" " * LONGEST_READ_BYTES
    assert not effects_of(long).statements
    assert flags in effects_of(long).flags
    assert effects_of(long).unknown_setting is (Effect.UNKNOWN_SETTING in flags)


def test_very_many_statements_are_not_read() -> None:
    assert effects_of(b"LISTEN x;" * 1_500) == unread(b"LISTEN x;")
