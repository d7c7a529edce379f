"""Fixtures of raw clients, and of proxies that tests with the same wishes share."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.support.cluster import Cluster
from tests.support.proxy import USER, ProxyProcess
from tests.support.raw_client import RawClient

ProxyLike = Callable[..., ProxyProcess]
RawConnect = Callable[..., Awaitable[RawClient]]


@pytest.fixture(scope="session")
def proxy_like(
    proxy_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProxyLike]:
    """A factory of proxies on shard s0: ``proxy_like(proxy_pool={"size": 1})``.

    Asked for the same again it gives the same one, so leave it as it was.
    """
    made: dict[str, ProxyProcess] = {}

    def like(shards: tuple[str, ...] | None = ("s0",), **sections: Any) -> ProxyProcess:
        key = json.dumps([shards, sections], sort_keys=True)
        if key not in made:
            folder = tmp_path_factory.mktemp("proxy-like")
            made[key] = ProxyProcess(proxy_cluster, folder, shards=shards, **sections)
        if not made[key].is_running():
            made[key].start()
        return made[key]

    try:
        yield like
    finally:
        for proxy in made.values():
            proxy.destroy()


@pytest.fixture
async def raw() -> AsyncIterator[RawConnect]:
    """A factory of raw clients of a proxy, closed at the end: ``await raw(proxy, user="me")``."""
    made: list[RawClient] = []

    async def connect(proxy: ProxyProcess, user: str = USER, **more: Any) -> RawClient:
        made.append(await RawClient.connect(proxy.port, proxy.cluster.database, user, **more))
        return made[-1]

    try:
        yield connect
    finally:
        for client in made:
            client.abort()
            with suppress(OSError):
                await client.writer.wait_closed()
