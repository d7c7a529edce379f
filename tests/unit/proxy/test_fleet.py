"""What routing of one worker stands on: leases, and who took the writes last."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from shardrouter.control import Monitor
from shardrouter.errors import LeaseExpired
from shardrouter.proxy.relay.fleet import Fleet
from shardrouter.routing import FleetView, NodeSample
from shardrouter.topology import (
    Epoch,
    Node,
    NodeId,
    Position,
    Role,
    Shard,
    ShardId,
    Topology,
    plan_owners,
)

PRIMARY = Node(NodeId("s0-p"), Role.PRIMARY, "host=p dbname=app")
REPLICA = Node(NodeId("s0-r1"), Role.REPLICA, "host=r dbname=app")
OWNERS = plan_owners(None, {ShardId("s0"): 1}, 64)
TOPOLOGY = Topology(Epoch(1), (Shard(ShardId("s0"), (PRIMARY, REPLICA)),), OWNERS)


class Source:
    """A keeper whose lease ends and goes on as the test says."""

    def __init__(self) -> None:
        self.topology = TOPOLOGY
        self.is_held = True
        self.change: Callable[[Topology], None] = lambda topology: None
        self.lease: Callable[[float], None] = lambda deadline: None

    def current(self) -> Topology:
        if not self.is_held:
            raise LeaseExpired
        return self.topology

    def on_change(self, callback: Callable[[Topology], None]) -> None:
        self.change = callback

    def on_lease(self, callback: Callable[[float], None]) -> None:
        self.lease = callback
        callback(10.0)


class Watch:
    """A monitor that sees what the test says."""

    def __init__(self) -> None:
        self.view = FleetView()
        self.changed: Callable[[], None] = lambda: None

    def on_view(self, callback: Callable[[], None]) -> None:
        self.changed = callback

    def see(self, *samples: NodeSample) -> None:
        self.view = FleetView({sample.node: sample for sample in samples})
        self.changed()


def no_pool(*arguments: Any) -> Any:
    raise AssertionError("no pool is wanted here")


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def fleet(source: Source, watch: Watch) -> Fleet:
    made = Fleet(source, cast("Monitor", watch), no_pool)
    source.change(TOPOLOGY)
    return made


def test_choices_end_before_a_lease_goes_on_with_a_newer_topology(
    fleet: Fleet, source: Source
) -> None:
    """The new one came while no lease held: a choice made on the old one must not live again."""
    before = fleet.standing.version
    source.is_held = False
    source.topology = replace(TOPOLOGY, epoch=Epoch(2))
    source.change(source.topology)
    assert fleet.standing.version == before
    source.is_held = True
    source.lease(20.0)
    assert fleet.standing.version > before
    assert fleet.standing.deadline == 20.0


def sample(node: Node, timeline: int, **changes: Any) -> NodeSample:
    seen = NodeSample(
        node.id,
        at=1.0,
        in_recovery=node.role is Role.REPLICA,
        position=Position(timeline, 50),
        system_id="7",
    )
    return replace(seen, **changes)


def test_a_successor_keeps_the_writes(fleet: Fleet, watch: Watch) -> None:
    [shard] = TOPOLOGY.shards
    watch.see(sample(PRIMARY, 1), sample(REPLICA, 1))
    assert fleet.primary(shard) == PRIMARY
    promoted = sample(REPLICA, 2, in_recovery=False)
    watch.see(sample(PRIMARY, 1, error="gone"), promoted)
    assert fleet.primary(shard) == REPLICA
    watch.see(sample(PRIMARY, 1), promoted)  # it is back, on its old timeline
    assert fleet.primary(shard) == REPLICA
    watch.see(sample(PRIMARY, 1), replace(promoted, error="restarts"))
    assert fleet.primary(shard) == REPLICA
    watch.see(sample(PRIMARY, 3), sample(REPLICA, 3))  # promoted back
    assert fleet.primary(shard) == PRIMARY
