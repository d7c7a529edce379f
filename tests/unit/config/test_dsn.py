"""Connection strings: passwords never come out, wrong ones are refused by name."""

import pytest

from shardrouter.config import check_dsn, public_dsn
from shardrouter.errors import SettingsError


@pytest.mark.parametrize(
    ("dsn", "password"),
    [
        ("postgresql://app:hunter2@db0/app", "hunter2"),
        ("postgres://app:hun%40ter%232@db0:5433,db1/app?sslmode=require", "hun"),
        ("postgresql://db0/app?user=app&password=hunter2", "hunter2"),
        ("host=db0 password='hunter 2' dbname=app", "hunter"),
        ("host=db0 sslpassword=hunter2", "hunter2"),
        ("not a connection string hunter2", "hunter2"),
    ],
)
def test_passwords_are_masked(dsn: str, password: str) -> None:
    shown = public_dsn(dsn)
    assert password not in shown
    assert "***" in shown


@pytest.mark.parametrize("dsn", ["postgresql://app@db0/app", "host=db0 dbname=app", ""])
def test_without_a_password_nothing_changes(dsn: str) -> None:
    check_dsn(dsn, "catalog.dsn")
    assert public_dsn(dsn) == dsn


def test_what_is_shown_keeps_all_but_the_password() -> None:
    shown = public_dsn("postgresql://app:x@db0:5433,db1:5434/app?sslmode=require")
    for part in ("user=app", "host=db0,db1", "port=5433,5434", "dbname=app", "sslmode=require"):
        assert part in shown


@pytest.mark.parametrize(
    ("dsn", "said"),
    [
        ("postgresql+psycopg://app@db0/app", "'postgresql\\+psycopg' is not a scheme"),
        ("mysql://db0/app", "'mysql' is not a scheme"),
        ("just words", "--primary is not a connection string"),
        ("postgresql://db0/app?nonsense=1", "is not a connection string"),
    ],
)
def test_wrong_ones_are_refused(dsn: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        check_dsn(dsn, "--primary")
