"""Parent and workers with real clients before real servers: bounds, takeover, a killed worker."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.support.cluster import Cluster
from tests.support.eventually import eventually
from tests.support.proxy import ProxyProcess

ROLE = "bounded"


@pytest.fixture
def role(cluster: Cluster) -> Iterator[str]:
    """A user of its own, whose backends can be counted."""
    with psycopg.connect(cluster.dsn("s0-p"), autocommit=True) as owner:
        owner.execute(f"CREATE ROLE {ROLE} LOGIN")
        yield ROLE
        owner.execute(f"DROP ROLE {ROLE}")


class Load:
    """Clients in threads that repeat something; what they could not do is kept."""

    def __init__(self, clients: int, act: Callable[[], None]) -> None:
        self.done = [0] * clients
        self.failures: list[str] = []
        self._act = act
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(clients)]

    @contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            for thread in self._threads:
                thread.join()

    def _run(self, number: int) -> None:
        while not self._is_over.is_set():
            try:
                self._act()
            except psycopg.Error as error:
                self.failures.append(str(error))
                return
            self.done[number] += 1


def working_backends_of(role: str, connection: psycopg.Connection[Any]) -> int:
    """Count those that work: an idle one may be on its way out."""
    row = connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND state = 'active'", [role]
    ).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("size", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_workers_share_the_bound_and_nobody_starves(
    make_proxy: Callable[..., ProxyProcess], cluster: Cluster, role: str, size: int
) -> None:
    proxy = make_proxy(
        shards=("s0",),
        proxy={"workers": 2},
        proxy_pool={"size": size, "checkout_timeout_seconds": 20},
    )

    def act() -> None:
        with proxy.connect(user=role) as connection:
            for _ in range(5):
                connection.execute("SELECT pg_sleep(0.005)")

    load = Load(12, act)
    most = 0
    with psycopg.connect(cluster.dsn("s0-p"), autocommit=True) as owner, load.running():
        until = time.monotonic() + 5
        while time.monotonic() < until:
            most = max(most, working_backends_of(role, owner))
            time.sleep(0.005)
    assert load.failures == []
    assert most == size
    assert min(load.done) > 0


@pytest.mark.slow
def test_what_lies_idle_in_one_worker_serves_the_other(
    make_proxy: Callable[..., ProxyProcess], cluster: Cluster, role: str
) -> None:
    proxy = make_proxy(shards=("s0",), proxy={"workers": 2}, proxy_pool={"size": 2})
    by_worker: dict[int, list[psycopg.Connection[Any]]] = {}
    connections = [
        proxy.connect(user=role, application_name=f"client{number}") for number in range(12)
    ]
    with proxy.admin() as admin, admin.cursor(row_factory=dict_row) as cursor:
        for row in cursor.execute("SHOW CLIENTS").fetchall():
            if row["user"] == role:
                number = int(row["application_name"].removeprefix("client"))
                by_worker.setdefault(row["worker"], []).append(connections[number])
    (idle, *_), (one, two, *_) = sorted(by_worker.values(), key=len)
    idle.execute("SELECT 1")
    sleepers = [
        threading.Thread(target=connection.execute, args=["SELECT pg_sleep(3)"])
        for connection in (one, two)
    ]
    for sleeper in sleepers:
        sleeper.start()
    with psycopg.connect(cluster.dsn("s0-p"), autocommit=True) as owner:
        eventually(lambda: working_backends_of(role, owner) == 2)
    for sleeper in sleepers:
        sleeper.join()
    assert idle.execute("SELECT 2").fetchone() == (2,)
    for connection in connections:
        connection.close()


def test_a_takeover_under_load_loses_nothing(
    make_proxy: Callable[..., ProxyProcess],
) -> None:
    old = make_proxy(shards=("s0",), proxy={"workers": 2, "drain_seconds": 20})

    def act() -> None:
        with psycopg.connect(old.dsn()) as connection, connection.transaction():
            connection.execute("SELECT 1")

    load = Load(4, act)
    with old.connect() as busy, old.connect() as idle, load.running():
        with busy.transaction():
            busy.execute("SELECT 1")
            new = make_proxy(
                shards=("s0",),
                proxy={
                    "workers": 2,
                    "listen": f"127.0.0.1:{old.port}",
                    "run_directory": str(old.folder / "run"),
                },
            )
            old.wait_for_log("takeover_done")
            done = sum(load.done)
            busy.execute("SELECT 2")
        assert idle.execute("SELECT 3").fetchone() == (3,)
        busy.close()
        idle.close()
        old.wait_for_log("proxy_ended")
        while sum(load.done) < done + 20 and not load.failures:
            time.sleep(0.01)
    assert load.failures == []
    assert new.is_running()
    with new.connect() as connection:
        assert connection.execute("SELECT 4").fetchone() == (4,)


def test_a_killed_worker_takes_only_its_own_clients(
    make_proxy: Callable[..., ProxyProcess],
) -> None:
    proxy = make_proxy(shards=("s0",), proxy={"workers": 2})
    connections = [proxy.connect() for _ in range(16)]
    os.kill(proxy.worker_pids()[0], signal.SIGKILL)
    lost = 0
    for connection in connections:
        try:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.OperationalError:
            lost += 1
        connection.close()
    assert 0 < lost < 16
    for _ in range(8):
        with proxy.connect() as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    with proxy.admin() as admin:
        assert admin.execute("SHOW STATS").fetchall() is not None
    proxy.wait_for_log("how=SIGKILL")


def test_a_drain_refuses_new_clients_at_once(make_proxy: Callable[..., ProxyProcess]) -> None:
    proxy = make_proxy(shards=("s0",), proxy={"workers": 2, "drain_seconds": 30})
    with proxy.connect() as busy:
        with busy.transaction():
            busy.execute("SELECT 1")
            proxy.signal(signal.SIGTERM)
            proxy.wait_for_log("proxy_drains")
            eventually(lambda: is_refused(proxy))
            busy.execute("SELECT 2")
        busy.close()
    eventually(lambda: not proxy.is_running())


@pytest.mark.slow
def test_a_new_proxy_starts_while_orphans_drain(make_proxy: Callable[..., ProxyProcess]) -> None:
    dead = make_proxy(shards=("s0",), proxy={"workers": 2, "drain_seconds": 30})
    with dead.connect() as busy:
        with busy.transaction():
            busy.execute("SELECT 1")
            dead.signal(signal.SIGKILL)
            new = make_proxy(
                shards=("s0",),
                proxy={
                    "listen": f"127.0.0.1:{dead.port}",
                    "run_directory": str(dead.folder / "run"),
                },
            )
            busy.execute("SELECT 2")
        with new.connect() as connection:
            assert connection.execute("SELECT 3").fetchone() == (3,)


def is_refused(proxy: ProxyProcess) -> bool:
    try:
        proxy.connect().close()
    except psycopg.OperationalError as error:
        return "refused" in str(error)
    return False
