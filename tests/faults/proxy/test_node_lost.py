"""A node dies, restarts, freezes or changes its role under load: errors are bounded and named."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shardrouter.local import LocalFleet
from shardrouter.local.server import LocalServer, StopMode
from tests.plugins.fix_faults import MakeRelay
from tests.plugins.fix_proxy import MakeProxy
from tests.support.cluster import Cluster
from tests.support.eventually import eventually
from tests.support.load import UNMET, Connection, Load
from tests.support.proxy_census import rows
from tests.support.rerouted import Rerouted

CHECKOUT_SECONDS = 2.0
BOUND_SECONDS = 6.0  # waiting for a backend, connecting, and a machine that is busy
POOL = {"checkout_timeout_seconds": CHECKOUT_SECONDS, "connect_timeout_seconds": 1}

TOLD = {"08006", "57P01", "57P02", "57P03", "53300", "08001"}
"""Lost backends in the server's words or ours, no primary, no backend."""


@contextmanager
def table(cluster: Cluster) -> Iterator[str]:
    with cluster.connect("s0-p") as owner:
        owner.execute("CREATE TABLE IF NOT EXISTS noted (n int)")
        owner.execute("TRUNCATE noted")
    yield "noted"


def only_told(load: Load, *others: str) -> None:
    """Every failure was said in words, and came in bounded time."""
    assert set(load.errors()) <= TOLD | {UNMET, *others}, load.errors()
    assert load.longest_seconds() < BOUND_SECONDS
    for failure in load.failures():
        assert failure.text.strip(), failure


def is_well_again(load: Load) -> None:
    """No more errors: the proxy has recovered without a restart."""
    load.wait_for_more(30)
    failed = len(load.failures())
    load.wait_for_more(200)
    assert len(load.failures()) == failed


@pytest.mark.parametrize(
    "how",
    ["kill", *(pytest.param(how, marks=pytest.mark.slow) for how in ("fast", "immediate"))],
)
def test_a_primary_that_ends_and_comes_back(
    make_proxy: MakeProxy, fragile: Cluster, how: str
) -> None:
    proxy = make_proxy(on=fragile, shards=("s0",), proxy_pool=POOL)
    primary = fragile.fleet.node("s0-p")
    with (
        Load(proxy.connect, 6).running() as load,
        Load(lambda: proxy.connect(role="replica"), 2).running() as reads,
    ):
        load.wait_for_more()
        if how == "kill":
            primary.kill()
        else:
            primary.stop(StopMode.IMMEDIATE if how == "immediate" else StopMode.FAST)
        eventually(lambda: load.failures())
        reads.wait_for_more()
        primary.start()
        is_well_again(load)
    only_told(load)
    assert reads.failures() == []


def test_a_killed_replica_costs_what_was_under_way(make_proxy: MakeProxy, fragile: Cluster) -> None:
    proxy = make_proxy(on=fragile, shards=("s0",), proxy_pool=POOL)
    replica = fragile.fleet.node("s0-r1")
    with (
        Load(proxy.connect, 2).running() as writes,
        Load(lambda: proxy.connect(role="replica"), 4).running() as reads,
    ):
        reads.wait_for_more()
        replica.kill()
        is_well_again(reads)  # on the primary
        replica.start()
        eventually(lambda: rows(proxy, "SHOW NODES")[1]["state"] == "up")
        is_well_again(reads)
    assert writes.failures() == []
    only_told(reads)
    assert len(reads.failures()) <= 4  # each had at most one statement under way


def test_a_frozen_primary_is_bounded_by_the_query_timeout(
    make_proxy: MakeProxy, fragile: Cluster
) -> None:
    proxy = make_proxy(on=fragile, shards=("s0",), proxy_pool={**POOL, "query_timeout_seconds": 1})
    primary = fragile.fleet.node("s0-p")
    with Load(proxy.connect, 4).running() as load:
        load.wait_for_more()
        primary.freeze()
        eventually(lambda: len(load.failures()) >= 4)
        primary.thaw()
        is_well_again(load)
    only_told(load, "57014")


@pytest.mark.slow
def test_a_frozen_replica_is_left_alone(make_proxy: MakeProxy, fragile: Cluster) -> None:
    proxy = make_proxy(on=fragile, shards=("s0",), proxy_pool={**POOL, "query_timeout_seconds": 1})
    replica = fragile.fleet.node("s0-r1")
    with (
        Load(proxy.connect, 2).running() as writes,
        Load(lambda: proxy.connect(role="replica"), 4).running() as reads,
    ):
        reads.wait_for_more()
        replica.freeze()
        is_well_again(reads)
        replica.thaw()
        is_well_again(reads)
    assert writes.failures() == []
    only_told(reads, "57014")


def insert(connection: Connection) -> None:
    connection.execute("INSERT INTO noted VALUES (1)")


def test_a_promoted_replica_is_followed_and_the_old_primary_shunned(
    make_proxy: MakeProxy, private_fleet: Callable[..., LocalFleet], tmp_path: Path
) -> None:
    cluster = Cluster(private_fleet(1, 1), 1, tmp_path / "shardrouter.toml")
    cluster.make()
    proxy = make_proxy(on=cluster, shards=("s0",), proxy_pool=POOL)
    old, new = cluster.fleet.node("s0-p"), cluster.fleet.node("s0-r1")
    with table(cluster):
        cluster.wait_replayed("s0-r1")
        with Load(proxy.connect, 4, insert).running() as load:
            load.wait_for_more()
            old.kill()
            with new.connect() as owner:
                owner.execute("SELECT pg_promote(true)")
            promoted = rows_of(new, cluster)
            is_well_again(load)
            old.start()  # as a primary, on its old timeline
            eventually(lambda: rows(proxy, "SHOW NODES")[0]["state"] == "up")
            ghosts = rows_of(old, cluster)
            load.wait_for_more(200)
    only_told(load, "25006")
    assert load.errors()["25006"] <= 4
    assert rows_of(old, cluster) == ghosts
    assert rows_of(new, cluster) > promoted
    assert rows_of(new, cluster) >= promoted + 200


def rows_of(server: LocalServer, cluster: Cluster) -> int:
    with server.connect(cluster.database) as owner:
        [(count,)] = owner.execute("SELECT count(*) FROM noted").fetchall()
    return count


@pytest.mark.slow
def test_a_node_that_became_a_standby_takes_no_more_writes(
    make_proxy: MakeProxy, fragile: Cluster, relay_to: MakeRelay
) -> None:
    """Behind its address is a standby now, as after a switchover that moved a name."""
    primary, replica = (fragile.fleet.node(name) for name in ("s0-p", "s0-r1"))
    relay = relay_to(primary.port)
    proxy = make_proxy(on=Rerouted(fragile, {"s0-p": relay.port}), shards=("s0",), proxy_pool=POOL)
    with table(fragile):
        fragile.wait_replayed("s0-r1")
        with Load(proxy.connect, 4, insert).running() as load:
            load.wait_for_more()
            relay.target = replica.port
            relay.reset()
            eventually(lambda: rows(proxy, "SHOW NODES")[0]["seen_role"] == "replica")
            demoted_at = time.monotonic()
            eventually(lambda: load.errors()["57P03"] > 0)
            relay.target = primary.port
            relay.reset()
            is_well_again(load)
    only_told(load, "25006")
    late = [o for o in load.failures() if o.sqlstate == "25006" and o.at > demoted_at + 0.2]
    assert late == []


@pytest.mark.slow
def test_25006_demotes_at_once(
    make_proxy: MakeProxy, fragile: Cluster, relay_to: MakeRelay
) -> None:
    """The monitor's next round is far away: the server's own word is what demotes."""
    primary, replica = (fragile.fleet.node(name) for name in ("s0-p", "s0-r1"))
    relay = relay_to(primary.port)
    proxy = make_proxy(
        on=Rerouted(fragile, {"s0-p": relay.port}),
        shards=("s0",),
        proxy_pool=POOL,
        monitor={"every_ms": 60_000},
    )
    with table(fragile), Load(proxy.connect, 2, insert).running() as load:
        fragile.wait_replayed("s0-r1")
        load.wait_for_more()
        relay.target = replica.port
        relay.reset()
        eventually(lambda: load.errors()["57P03"] > 0)
    only_told(load, "25006")
    refused = [outcome.at for outcome in load.failures() if outcome.sqlstate == "25006"]
    assert not refused or max(refused) - min(refused) < 1


@pytest.mark.slow
def test_a_cold_start_of_all_servers(make_proxy: MakeProxy, fragile: Cluster) -> None:
    """The proxy starts while no node answers, and serves when they do."""
    fragile.fleet.stop()
    proxy = make_proxy(on=fragile, shards=("s0",), proxy_pool=POOL)
    began = time.monotonic()
    with Load(proxy.connect, 2).running() as load:
        eventually(lambda: load.failures())
        fragile.fleet.start()
        is_well_again(load)
    assert time.monotonic() - began < 30
    only_told(load)
