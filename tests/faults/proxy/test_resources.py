"""Out of file descriptors, and memory over very many exchanges."""

import resource
import socket
from contextlib import ExitStack, closing

import pytest

from tests.plugins.fix_proxy import MakeProxy
from tests.plugins.fix_raw import ProxyLike
from tests.support.eventually import eventually
from tests.support.load import Connection, Load, echo
from tests.support.process_memory import open_files, resident_bytes
from tests.support.proxy import ProxyProcess

MEGABYTE = 1 << 20


@pytest.mark.slow
def test_out_of_file_descriptors(make_proxy: MakeProxy) -> None:
    """It refuses or lets wait; who is connected is not affected; it recovers by itself."""
    proxy = make_proxy(shards=("s0",), proxy_pool={"size": 4})
    [worker] = proxy.worker_pids()
    with Load(proxy.connect, 4, reconnects=False).running() as load:
        load.wait_for_more()
        limit = open_files(worker) + 20
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (limit, limit + 1000))
        with ExitStack() as stack:
            for _ in range(200):
                stack.enter_context(closing(socket.create_connection(("127.0.0.1", proxy.port))))
            proxy.wait_for_log("accept_failed")
            load.wait_for_more(100)
        eventually(lambda: serves(proxy))
        assert proxy.worker_pids() == [worker]
        told = proxy.log.count("accept_failed")
        assert told < 50  # it is no reason to fill the log
    assert load.failures() == []


@pytest.mark.slow
def test_no_file_descriptor_for_a_backend(make_proxy: MakeProxy) -> None:
    proxy = make_proxy(shards=("s0",), proxy_pool={"size": 10, "checkout_timeout_seconds": 2})
    [worker] = proxy.worker_pids()
    with proxy.connect() as first:
        echo(first)
        limit = open_files(worker) + 4
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (limit, limit + 1000))
        with Load(proxy.connect, 4, slowly).running() as load:
            eventually(lambda: load.done > 10)
            for _ in range(20):
                echo(first)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (limit + 1000, limit + 1000))
        eventually(lambda: serves(proxy))
    assert proxy.worker_pids() == [worker]
    assert "Traceback" not in proxy.log, proxy.log[-3000:]


def slowly(connection: Connection) -> None:
    connection.execute("SELECT pg_sleep(0.05)")


def serves(proxy: ProxyProcess) -> bool:
    with proxy.connect() as connection:
        echo(connection)
    return True


@pytest.mark.parametrize(
    "cycles",
    [1_000, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])],
)
def test_memory_stays_over_copy_cycles(proxy_like: ProxyLike, cycles: int) -> None:
    """PgBouncer 1025: COPY in both ways, with errors and prepared statements between."""
    proxy = proxy_like(proxy_pool={"size": 1})
    with proxy.connect(prepare_threshold=0) as connection:
        connection.execute("CREATE TABLE cycled (n int, t text)")
        try:
            before = 0
            for number in range(cycles):
                with connection.cursor().copy("COPY cycled FROM STDIN") as copy:
                    copy.write_row((number, "x" * 100))
                if number % 10 == 0:
                    with connection.cursor().copy("COPY cycled TO STDOUT") as copy:
                        assert sum(1 for _ in copy) == number % 500 + 1
                if number % 500 == 499:
                    connection.execute("TRUNCATE cycled")
                if number == min(500, cycles // 4):
                    before = resident_bytes(proxy.worker_pids())
            assert resident_bytes(proxy.worker_pids()) - before < 8 * MEGABYTE
        finally:
            connection.execute("DROP TABLE cycled")
