import asyncio
import random
from collections.abc import Iterator

import pytest
import trustme
import uvloop

from shardrouter.local.ports import free_ports
from tests.support.debian_postgres import DebianPostgres, debian_postgres, is_installed


@pytest.hookimpl(optionalhook=True)  # pytest-asyncio before 1.4 does not know it
def pytest_asyncio_loop_factories():
    """Workers run on uvloop; what holds must hold on both."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def tls_server() -> Iterator[DebianPostgres]:
    """A real server with TLS; none of the tests changes its roles."""
    if not is_installed():
        pytest.skip("no Postgres 15 of Debian on this machine")
    with debian_postgres() as server:
        yield server


@pytest.fixture
def unused_port() -> int:
    return free_ports(1, random.SystemRandom())[0]
