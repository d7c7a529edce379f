"""pytest fixtures for services that use shardrouter: a real fleet, a clean router for each test.

Installed as a plugin with the package (needs ``shardrouter[embedded]``). Nothing is started until
a test asks; imports are inside the fixtures, so that other test runs pay nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from shardrouter.client.router import Router

REPLAY_SECONDS: Final = 10.0  # how long a replica may take to stop replaying


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("shardrouter")
    group.addoption("--shard-count", type=int, default=2, help="shards of the test fleet")
    group.addoption("--replica-count", type=int, default=1, help="replicas of each shard")


@pytest.fixture(scope="session")
def shard_cluster(pytestconfig: pytest.Config) -> Iterator["Router"]:
    """A router on a fleet of real Postgres servers, for the whole run (one per xdist worker).

    Create your tables here, once::

        @pytest.fixture(scope="session", autouse=True)
        def tables(shard_cluster):
            shard_cluster.create_all(Base)
    """
    from shardrouter.client.router import Router

    shards, replicas = (pytestconfig.getoption(f"--{n}-count") for n in ("shard", "replica"))
    with Router.embedded(shards=shards, replicas=replicas) as router:
        yield router


@pytest.fixture
def router(shard_cluster: "Router") -> Iterator["Router"]:
    """The fleet's router with a token scope of its own; all tables are emptied after the test.

    Emptied, not rolled back: what a replica is to show must have been committed.
    """
    with shard_cluster.causal():
        yield shard_cluster
    _truncate_all(shard_cluster)


@pytest.fixture
def assert_shards(
    shard_cluster: "Router",
) -> Callable[[int], AbstractContextManager[None]]:
    """``with assert_shards(1): ...`` fails when the block talks to another number of shards."""

    @contextmanager
    def check(expected: int) -> Iterator[None]:
        touched: set[str] = set()
        with shard_cluster.watch_checkouts(lambda shard, node: touched.add(shard)):
            yield
        if len(touched) != expected:
            names = ", ".join(sorted(touched)) or "none"
            pytest.fail(f"the block touched {len(touched)} shards ({names}), not {expected}")

    return check


@pytest.fixture
def replica_lag(shard_cluster: "Router") -> Callable[[str], AbstractContextManager[None]]:
    """``with replica_lag("s0"): ...`` stops replay on the shard's replicas for the block."""

    @contextmanager
    def pause(shard: str) -> Iterator[None]:
        import psycopg

        dsns = [node.dsn for node in shard_cluster.topology.shard(shard).replicas]
        replicas = [psycopg.connect(dsn, autocommit=True) for dsn in dsns]
        try:
            for replica in replicas:
                _pause_replay(replica)
            yield
        finally:
            for replica in replicas:
                replica.execute("SELECT pg_catalog.pg_wal_replay_resume()")
                replica.close()

    return pause


def _pause_replay(replica: Any) -> None:
    """Stop replay and wait until it stands still: the request alone returns at once."""
    import time

    replica.execute("SELECT pg_catalog.pg_wal_replay_pause()")
    deadline = time.monotonic() + REPLAY_SECONDS
    state = "SELECT pg_catalog.pg_get_wal_replay_pause_state()"
    while replica.execute(state).fetchone() != ("paused",):
        if time.monotonic() > deadline:
            pytest.fail(f"a replica did not stop replaying within {REPLAY_SECONDS} s")
        time.sleep(0.005)


def _truncate_all(router: "Router") -> None:
    from psycopg import sql

    tables = router.topology.tables
    for shard in router.topology.shards:
        here = [t for t in tables if t.shard in (None, shard.id)]
        if not here:
            continue
        names = sql.SQL(", ").join(sql.Identifier(t.schema, t.name) for t in here)
        with router.connection(shard=shard.id) as connection:
            connection.execute(sql.SQL("TRUNCATE {} CASCADE").format(names))
