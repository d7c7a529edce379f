"""A server that does not answer is hung up on."""

import time

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from shardrouter.postgres import answers_within
from tests.support.cluster import Cluster


def test_the_deadline_ends_a_call(cluster: Cluster) -> None:
    url = cluster.dsn("s0-p").replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        with answers_within(connection, 5):
            connection.exec_driver_sql("SELECT 1")
        started = time.monotonic()
        with pytest.raises(OperationalError), answers_within(connection, 0.2):
            connection.exec_driver_sql("SELECT pg_sleep(30)")
        assert time.monotonic() - started < 5
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
