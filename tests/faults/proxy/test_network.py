"""The network between proxy and node, and between client and proxy, cuts, freezes and slices."""

import time
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.plugins.fix_faults import Keep, MakeRelay
from tests.support.chaos_relay import BYTES, DOWN, UP, ChaosRelay
from tests.support.cluster import Cluster
from tests.support.eventually import eventually
from tests.support.load import Connection, Load, echo
from tests.support.proxy import ProxyProcess
from tests.support.rerouted import Rerouted

LIMITS = {
    "size": 4,
    "checkout_timeout_seconds": 3,
    "connect_timeout_seconds": 1,
    "query_timeout_seconds": 1,
    "transaction_idle_seconds": 1,
}
BOUND_SECONDS = 8.0
SLOW = pytest.mark.slow
TOLD = {"08006", "57P03", "53300", "08001", "57014"}


@pytest.fixture(scope="module")
def pair(
    fragile_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ProxyProcess, ChaosRelay]]:
    """One proxy for all of these, and a relay between it and the primary."""
    relay = ChaosRelay(fragile_cluster.fleet.node("s0-p").port)
    rerouted = Rerouted(fragile_cluster, {"s0-p": relay.port})
    proxy = ProxyProcess(
        rerouted, tmp_path_factory.mktemp("network"), shards=("s0",), proxy_pool=LIMITS
    )
    try:
        yield proxy.start(), relay
    finally:
        proxy.destroy()
        relay.close()


@pytest.fixture
def proxy(pair: tuple[ProxyProcess, ChaosRelay]) -> ProxyProcess:
    return pair[0]


@pytest.fixture
def relay(pair: tuple[ProxyProcess, ChaosRelay]) -> Iterator[ChaosRelay]:
    yield pair[1]
    pair[1].swallowed.clear()
    pair[1].thaw()
    pair[1].piece_bytes = BYTES


def heals(load: Load) -> None:
    load.wait_for_more(30)
    failed = len(load.failures())
    load.wait_for_more(100)
    assert len(load.failures()) == failed
    assert set(load.errors()) <= TOLD | {"unmet"}, load.failures()
    assert load.longest_seconds() < BOUND_SECONDS


@pytest.mark.slow
def test_resets_and_a_closed_port(proxy: ProxyProcess, relay: ChaosRelay) -> None:
    with Load(proxy.connect, 6).running() as load:
        for _ in range(3):
            load.wait_for_more()
            relay.reset()
        load.wait_for_more()
        relay.refuse()
        eventually(lambda: load.errors()["57P03"] + load.errors()["08001"] > 0)
        relay.accept_again()
        heals(load)


def test_the_node_says_fin(proxy: ProxyProcess, relay: ChaosRelay) -> None:
    with Load(proxy.connect, 6).running() as load:
        load.wait_for_more()
        relay.half_close()
        heals(load)


@pytest.mark.parametrize("way", ["frozen", *(pytest.param(w, marks=SLOW) for w in (UP, DOWN))])
def test_bytes_that_do_not_come_through(proxy: ProxyProcess, relay: ChaosRelay, way: str) -> None:
    """What was held up and comes late reaches nobody: each client gets its own answers."""
    with Load(proxy.connect, 6).running() as load:
        load.wait_for_more()
        if way == "frozen":
            relay.freeze()
        else:
            relay.swallowed.add(way)
        eventually(lambda: len(load.failures()) >= 2)
        relay.swallowed.clear()
        relay.thaw()
        heals(load)


def much(connection: Connection) -> None:
    """Rows, an error, a COPY each way: all that has a place in the protocol."""
    echo(connection)
    with connection.transaction():
        connection.execute("CREATE TEMP TABLE sliced (n int, t text) ON COMMIT DROP")
        with connection.cursor().copy("COPY sliced FROM STDIN") as copy:
            for number in range(20):
                copy.write_row((number, "x" * number))
        with connection.cursor().copy("COPY sliced TO STDOUT") as copy:
            assert len(list(copy)) == 20
    with connection.pipeline():
        cursors = [connection.execute("SELECT %s::int", [n], prepare=True) for n in range(5)]
    assert [cursor.fetchone() for cursor in cursors] == [(n,) for n in range(5)]
    with pytest.raises(psycopg.errors.DivisionByZero):
        connection.execute("SELECT 1/0")


def test_slices_of_one_byte_change_nothing(
    proxy: ProxyProcess, relay: ChaosRelay, relay_to: MakeRelay
) -> None:
    before = relay_to(proxy.port)
    relay.piece_bytes = before.piece_bytes = 1
    dsn = make_conninfo(proxy.dsn(), port=before.port)
    with Load(lambda: psycopg.connect(dsn, autocommit=True), 2, much).running() as load:
        load.wait_for_more(4)
    assert load.failures() == []


@pytest.mark.parametrize(
    "how", ["freeze", "reset", *(pytest.param(h, marks=SLOW) for h in ("half_close", "swallow"))]
)
def test_clients_whose_network_breaks_in_a_transaction_free_their_backends(
    proxy: ProxyProcess, relay_to: MakeRelay, kept: Keep, how: str
) -> None:
    before = relay_to(proxy.port)
    dsn = make_conninfo(proxy.dsn(), port=before.port)
    for _ in range(4):  # as many as the pool has
        client = kept(psycopg.connect(dsn))
        client.execute("SELECT 1")
    if how == "swallow":
        before.swallowed |= {UP, DOWN}
    else:
        getattr(before, how)()
    began = time.monotonic()
    with proxy.connect() as connection:
        echo(connection)
    assert time.monotonic() - began < LIMITS["checkout_timeout_seconds"]


def test_a_client_cut_within_a_message_costs_nobody_else(
    proxy: ProxyProcess, relay_to: MakeRelay
) -> None:
    before = relay_to(proxy.port)
    dsn = make_conninfo(proxy.dsn(), port=before.port)
    with Load(proxy.connect, 3).running() as load:
        for _ in range(5):
            with pytest.raises(psycopg.OperationalError):
                with psycopg.connect(dsn, autocommit=True) as client:
                    client.execute("CREATE TEMP TABLE cut (t text)")
                    with client.cursor().copy("COPY cut FROM STDIN") as copy:
                        copy.write(b"half a li")
                        before.reset()
                        for _ in range(200):
                            copy.write(b"x" * 65536)
            load.wait_for_more(5)
    assert load.failures() == []
