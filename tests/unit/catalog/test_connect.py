"""The options and the error words of catalog connections."""

import psycopg
import pytest
from sqlalchemy import exc

from shardrouter.catalog import answering, connect_options
from shardrouter.errors import CatalogUnavailable, SettingsError


def test_options_keep_those_of_the_dsn_and_come_after_them() -> None:
    dsn = "host=db0 options='-c work_mem=1MB -c statement_timeout=0'"
    options = connect_options(dsn, 2.5, 0.2)
    assert options["connect_timeout"] == 3
    given, _, ours = options["options"].partition(" -c statement_timeout=200")
    assert given == "-c work_mem=1MB -c statement_timeout=0"
    assert "lock_timeout=200" in ours
    assert "read\\ committed" in ours


@pytest.mark.parametrize(
    ("error", "kind", "hint"),
    [
        (psycopg.OperationalError("connection refused\nmore"), CatalogUnavailable, "catalog.dsn"),
        (psycopg.errors.QueryCanceled("too slow"), CatalogUnavailable, "catalog.dsn"),
        (psycopg.errors.UndefinedTable("no"), SettingsError, "shardrouter init"),
        (psycopg.errors.InsufficientPrivilege("no"), SettingsError, "configuration.md"),
        (psycopg.errors.ReadOnlySqlTransaction("no"), CatalogUnavailable, "read-write"),
        (exc.TimeoutError("pool"), CatalogUnavailable, "try again"),
    ],
)
def test_errors_become_ours(error: Exception, kind: type[Exception], hint: str) -> None:
    with pytest.raises(kind) as caught, answering():
        raise error
    assert hint in str(caught.value)
    assert "more" not in str(caught.value)


def test_a_bug_stays_a_bug() -> None:
    with pytest.raises(psycopg.errors.SyntaxError), answering():
        raise psycopg.errors.SyntaxError("oops")
