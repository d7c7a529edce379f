"""Fixtures of running proxies: one for each test process, and a factory of a test's own."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from shardrouter.local import LocalFleet
from tests.support.cluster import Cluster
from tests.support.proxy import ProxyProcess

_NUMBERS: Final = itertools.count(9001)  # far from those of the cluster fixture
_FOLDERS: Final = itertools.count(1)

MakeProxy = Callable[..., ProxyProcess]


@pytest.fixture(scope="session")
def proxy_cluster(
    installed_fleet: LocalFleet, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """The databases behind the shared proxies. A test makes what it needs and drops it again."""
    folder = tmp_path_factory.mktemp("proxy-cluster")
    fresh = Cluster(installed_fleet, next(_NUMBERS), folder / "shardrouter.toml")
    fresh.make()
    try:
        fresh.publish()
        yield fresh
    finally:
        fresh.drop()


@pytest.fixture(scope="session")
def proxy(
    proxy_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProxyProcess]:
    """One proxy in transaction pooling with one worker, on shard s0 (primary and replica) only.

    Shared by all tests of the process: leave it as it was. ``proxy.cluster`` is what is behind it.
    """
    started = ProxyProcess(proxy_cluster, tmp_path_factory.mktemp("proxy"), shards=("s0",))
    yield from _running(started)


@pytest.fixture(scope="session")
def session_proxy(
    proxy_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProxyProcess]:
    """The same in session pooling."""
    started = ProxyProcess(
        proxy_cluster,
        tmp_path_factory.mktemp("session-proxy"),
        shards=("s0",),
        proxy_pool={"mode": "session"},
    )
    yield from _running(started)


@pytest.fixture
def make_proxy(cluster: Cluster, tmp_path: Path) -> Iterator[MakeProxy]:
    """A factory of proxies on this test's ``cluster``: ``make_proxy(proxy_pool={"size": 1})``.

    They serve both shards from the catalog; ``shards=("s0",)`` serves one, from a file. Another
    cluster is given by ``on=``; with ``start=False`` the proxy is only configured.
    """
    made: list[ProxyProcess] = []

    def make(*, on: Cluster | None = None, start: bool = True, **given: Any) -> ProxyProcess:
        folder = tmp_path / f"proxy{next(_FOLDERS)}"
        made.append(ProxyProcess(on or cluster, folder, **given))
        return made[-1].start() if start else made[-1]

    try:
        yield make
    finally:
        for proxy in made:
            proxy.destroy()


def _running(proxy: ProxyProcess) -> Iterator[ProxyProcess]:
    try:
        yield proxy.start()
    finally:
        proxy.destroy()
