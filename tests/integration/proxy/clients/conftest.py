"""What the tests of clients share: both kinds of pools, a schema of a test's own, programs."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from shardrouter.local import LocalFleet
from tests.support.clients.programs import Programs
from tests.support.proxy import ProxyProcess

_NUMBERS: Final = itertools.count(1)


@pytest.fixture(scope="session")
def programs(installed_fleet: LocalFleet) -> Programs:
    return Programs(installed_fleet.binaries.directory)


@pytest.fixture(params=["transaction", "session"])
def pooling(request: pytest.FixtureRequest) -> str:
    """The kind of pools: a test that asks for it runs in both."""
    return str(request.param)


@pytest.fixture
def either(pooling: str, request: pytest.FixtureRequest) -> ProxyProcess:
    """A proxy of each kind of pools."""
    name = "proxy" if pooling == "transaction" else "session_proxy"
    found: ProxyProcess = request.getfixturevalue(name)
    return found


@pytest.fixture(scope="module")
def special_proxy(
    proxy: ProxyProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., ProxyProcess]]:
    """A factory of proxies with other settings on the same database: one each for a module."""
    made: dict[str, ProxyProcess] = {}

    def make(**sections: dict[str, Any]) -> ProxyProcess:
        key = repr(sections)
        if key not in made:
            folder = tmp_path_factory.mktemp("special-proxy")
            made[key] = ProxyProcess(proxy.cluster, folder, shards=("s0",), **sections)
            made[key].start()
        return made[key]

    try:
        yield make
    finally:
        for each in made.values():
            each.destroy()


@pytest.fixture
def schema(proxy: ProxyProcess) -> Iterator[str]:
    """A fresh schema, made behind the proxies' backs."""
    name = f"client{next(_NUMBERS)}"
    with proxy.cluster.connect("s0-p") as connection:
        connection.execute(f"CREATE SCHEMA {name}")
        yield name
        connection.execute("SET lock_timeout = '10s'")  # a test that failed may have left locks
        connection.execute(f"DROP SCHEMA {name} CASCADE")
