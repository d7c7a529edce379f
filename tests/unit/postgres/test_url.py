"""libpq connection strings as SQLAlchemy URLs: the driver gets the same parameters."""

import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import make_url
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from shardrouter.postgres import sqlalchemy_url


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://app:p%40ss%2F%25word@db:5433/shop?sslmode=require&application_name=x",
        "host=db user=app dbname=shop password='it''s 100% \\\\ odd'".replace("''", "\\'"),
        "postgresql://app@/shop?host=/var/run/postgresql",
        "postgresql://app@[::1]:5432/shop",
        "host=a,b port=5432,5433 user=app dbname=shop target_session_attrs=read-write",
        "host=db options='-c search_path=sales -c statement_timeout=5s' dbname=shop",
        "dbname=shop",
    ],
)
def test_the_driver_gets_what_libpq_would(dsn: str) -> None:
    url = make_url(sqlalchemy_url(dsn))
    assert url.drivername == "postgresql+psycopg"
    _, given = PGDialect_psycopg().create_connect_args(url)
    expected = {name: str(value) for name, value in conninfo_to_dict(dsn).items()}
    assert {name: str(value) for name, value in given.items() if name != "context"} == expected
