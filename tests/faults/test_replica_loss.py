"""Replicas die, freeze and come back; reads go on and nobody is told."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from shardrouter import Router
from shardrouter.catalog import catalog_engine, found_fleet
from shardrouter.errors import BackendUnreachable, ReplicaTooStale
from shardrouter.local import LocalFleet
from shardrouter.topology import NodeId
from tests.support.eventually import eventually


@pytest.fixture
def fleet(private_fleet: Callable[..., LocalFleet]) -> LocalFleet:
    fleet = private_fleet(1, 2)
    engine = catalog_engine(fleet.catalog.dsn())
    found_fleet(engine, fleet.topology(), actor="tests")
    engine.dispose()
    return fleet


@pytest.fixture
def router(fleet: LocalFleet, tmp_path: Path) -> Iterator[Router]:
    settings = tmp_path / "shardrouter.toml"
    settings.write_text(f'[catalog]\ndsn = "{fleet.catalog.dsn()}"\n')
    with Router.from_config(settings) as opened:
        yield opened


def answering_node(router: Router, **how: str) -> str:
    with router.session(1, read="replica", **how) as session:  # type: ignore[arg-type]
        session.execute(text("SELECT 1"))
        assert session.unit.node is not None
        return session.unit.node.id


def is_up(router: Router, node: str) -> bool:
    sample = router.fleet_view.of(NodeId(node))
    return sample is not None and sample.is_up


def nodes_of_reads(router: Router, seconds: float) -> set[str]:
    """Read all the time; any failure of a read fails the test."""
    seen: set[str] = set()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        seen.add(answering_node(router))
    return seen


def test_killed_replica_is_left_and_rejoins(fleet: LocalFleet, router: Router) -> None:
    both = {"s0-r1", "s0-r2"}
    eventually(lambda: nodes_of_reads(router, 0.2) <= both)
    for victim, survivor in (("s0-r1", "s0-r2"), ("s0-r2", "s0-r1")):
        fleet.node(victim).kill()
        assert nodes_of_reads(router, 1.0) == {survivor}
        fleet.node(victim).start()

        eventually(lambda node=victim: is_up(router, node))


def test_all_replicas_gone_means_the_primary_or_a_refusal(
    fleet: LocalFleet, router: Router
) -> None:
    for node in ("s0-r1", "s0-r2"):
        fleet.node(node).kill()
    assert nodes_of_reads(router, 0.5) == {"s0-p"}
    with pytest.raises(ReplicaTooStale, match="shard s0"):
        answering_node(router, fallback="error")
    fleet.start()
    eventually(lambda: answering_node(router) != "s0-p")


def test_frozen_replica_leaves_within_its_timeout_and_rejoins(
    fleet: LocalFleet, router: Router
) -> None:
    eventually(lambda: is_up(router, "s0-r1"))
    frozen = fleet.node("s0-r1")
    frozen.freeze()
    try:
        eventually(lambda: not is_up(router, "s0-r1"))
        assert nodes_of_reads(router, 0.5) == {"s0-r2"}
    finally:
        frozen.thaw()
    eventually(lambda: is_up(router, "s0-r1"))


def test_dead_primary_fails_writes_by_name_and_reads_go_on(
    fleet: LocalFleet, router: Router
) -> None:
    eventually(lambda: nodes_of_reads(router, 0.2) <= {"s0-r1", "s0-r2"})
    fleet.node("s0-p").kill()
    with pytest.raises(BackendUnreachable, match="shard s0, node s0-p, epoch 1"):
        with router.connection(1):
            pass
    assert nodes_of_reads(router, 0.5) <= {"s0-r1", "s0-r2"}


def test_writes_follow_a_promoted_replica(fleet: LocalFleet, router: Router) -> None:
    with router.connection(1) as connection:
        connection.execute("CREATE TABLE t (id int)")
    fleet.node("s0-p").kill()
    with fleet.node("s0-r1").connect("postgres") as replica:
        replica.execute("SELECT pg_promote()")

    def writes() -> bool:
        try:
            with router.connection(1) as connection:
                connection.execute("INSERT INTO t VALUES (1)")
        except BackendUnreachable:
            return False
        return True

    eventually(writes)
    with fleet.node("s0-r1").connect("app") as promoted:
        assert promoted.execute("SELECT count(*) FROM t").fetchone() == (1,)
    # What was written on the new timeline is not looked for on the replica of the old one.
    assert answering_node(router) == "s0-r1"
