"""What rows of an inspection mean, and how literals survive every setting."""

import pytest

from shardrouter.sql import Residue, inspection_sql, read_inspection, sync_sql
from shardrouter.sql.session_inspection import literal

UNHURRIED = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = 0; "


def hexed(text: str) -> str:
    return text.encode().hex()


def test_rows_are_read() -> None:
    rows: list[tuple[str | None, ...]] = [
        ("timeout", "statement_timeout", "90s"),
        ("setting", "work_mem", hexed("1024")),
        ("reset", "statement_timeout", hexed("0")),
        ("setting", "DateStyle", hexed("SQL, DMY")),
        ("identity", "role", hexed("a'b")),
        ("identity", "session_authorization", hexed("app")),
        ("setting", "my.tenant", hexed("ä")),
        ("setting", "my.reset", hexed("")),
        ("setting", "my.never", None),
        ("pin", "LISTEN", None),
    ]
    found = read_inspection(rows, "app")
    settings = ("datestyle", "SQL, DMY"), ("my.tenant", "ä"), ("statement_timeout", "90000")
    assert found == Residue((*settings, ("work_mem", "1024")), role="a'b", pins=("LISTEN",))
    assert read_inspection(rows, "other").session_authorization == "app"


@pytest.mark.parametrize(
    ("shown", "milliseconds"),
    [("1ms", "1"), ("5s", "5000"), ("2min", "120000"), ("3h", "10800000"), ("1d", "86400000")],
)
def test_a_timeout_is_told_in_milliseconds(shown: str, milliseconds: str) -> None:
    rows = [("timeout", "statement_timeout", shown), ("reset", "statement_timeout", hexed("0"))]
    assert read_inspection(rows, "app").settings == (("statement_timeout", milliseconds),)


def test_a_timeout_that_is_the_default_is_no_residue() -> None:
    rows = [("timeout", "statement_timeout", "5s"), ("reset", "statement_timeout", hexed("5000"))]
    assert read_inspection(rows, "app") == Residue()


def test_only_names_postgres_would_take_are_asked_for() -> None:
    sql = inspection_sql(
        ["My.Tenant", "my.tenant", "work_mem", "a'b.c", "x.", ".y", "a.b.c", "é.f"]
    )
    assert "ARRAY['a.b.c', 'my.tenant']" in sql
    assert "a''b" not in sql
    assert sql.isascii()


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a", "'a'"),
        ("a'b", "'a''b'"),
        ("a\\b", "E'a\\\\b'"),
        ("a\\'b", "E'a\\\\''b'"),
        ("ä'", "E'\\U000000e4'''"),
        ("😀\n", "E'\\U0001f600\n'"),
    ],
)
def test_literals(text: str, written: str) -> None:
    assert literal(text) == written


def test_a_zero_byte_is_refused() -> None:
    with pytest.raises(ValueError, match="zero byte"):
        literal("a\0b")


def given(name: str, value: str) -> str:
    return f"SELECT pg_catalog.set_config('{name}', '{value}', false) IS NULL"


def test_nothing_to_do_is_no_text() -> None:
    some = Residue((("a.b", "1"),), role="x", pins=("LISTEN",))
    assert sync_sql(some, Residue((("a.b", "1"),), role="x")) == ""


def test_what_differs_is_set() -> None:
    have = Residue((("a", "1"), ("b", "2")))
    want = Residue((("a", "1"), ("b", "3"), ("c", "4")))
    assert sync_sql(have, want) == f"{UNHURRIED}{given('b', '3')}; {given('c', '4')}"


def test_what_is_too_much_resets_all() -> None:
    have, want = Residue((("a", "1"), ("b", "2"))), Residue((("a", "1"),))
    assert sync_sql(have, want) == f"{UNHURRIED}RESET ALL; {given('a', '1')}"
    assert sync_sql(have, Residue()) == f"{UNHURRIED}RESET ALL; "


def test_settings_are_given_by_the_login_user_and_timeouts_last() -> None:
    have = Residue(role="weak")
    want = Residue((("statement_timeout", "1"), ("work_mem", "2")), "r", session_authorization="u")
    assert sync_sql(have, want) == (
        f"{UNHURRIED}RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; {given('work_mem', '2')}; "
        f"{given('statement_timeout', '1')}; {given('session_authorization', 'u')}; "
        f"{given('role', 'r')}"
    )


def test_settings_of_a_role_are_given_before_it() -> None:
    have, want = Residue(role="weak"), Residue((("a", "1"),), role="weak")
    assert sync_sql(have, want).endswith(f"RESET ALL; {given('a', '1')}; {given('role', 'weak')}")
