"""What a worker tells of itself fits the contract of the census, also when its lease is over."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from shardrouter.errors import LeaseExpired
from shardrouter.proxy.telemetry.census import COLUMNS, merged
from shardrouter.proxy.telemetry.health import readiness_of
from shardrouter.proxy.worker.rows import WorkerRows
from shardrouter.routing import FleetView, NodeSample
from shardrouter.topology import Motion, NodeId, Slot, SlotsInMotion, Topology
from tests.support.topologies import small_topology

HELD = SimpleNamespace(
    choice=SimpleNamespace(shard=None, slot=0, is_any_shard_right=False, least_epoch=0)
)


class Source:
    """A topology whose lease may end."""

    def __init__(self) -> None:
        self.topology = small_topology()
        self.is_over = False
        self.watchers: list[Callable[[Topology], None]] = []

    def current(self) -> Topology:
        if self.is_over:
            raise LeaseExpired("the lease of 15 s on the topology is over", epoch=1)
        return self.topology

    def on_change(self, watcher: Callable[[Topology], None]) -> None:
        self.watchers.append(watcher)

    def change(self, topology: Topology) -> None:
        self.topology = topology
        for watcher in self.watchers:
            watcher(topology)


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def rows(source: Source) -> WorkerRows:
    first = source.topology.shards[0].primary
    view = FleetView({first.id: NodeSample(NodeId(first.id), at=0.0)})
    plane = SimpleNamespace(
        pools=list,
        sessions={},
        backends=list,
        holding=SimpleNamespace(sessions=lambda: [HELD], since=lambda session: 0.0),
        fleet=SimpleNamespace(primary=lambda shard: source.current() and shard.primary),
    )
    worker = SimpleNamespace(
        start=SimpleNamespace(index=0),
        source=source,
        monitor=SimpleNamespace(view=view),
        plane=plane,
    )
    return WorkerRows(cast("Any", worker))


@pytest.mark.parametrize("what", COLUMNS)
async def test_rows_have_the_columns_that_are_shown(what: str, rows: WorkerRows) -> None:
    for row in merged(what, [await rows.show(what)]):
        assert tuple(row) == COLUMNS[what]


async def test_who_looks_at_a_fleet_in_trouble_sees_it(source: Source, rows: WorkerRows) -> None:
    before = await rows.show("nodes")
    source.is_over = True
    assert await rows.show("nodes") == before
    shards = await rows.show("shards")
    assert [row["up"] for row in shards] == [False, False]
    [lease] = await rows.show("leases")
    assert "is over" in lease["problem"]
    health = cast("Any", await rows.health())
    assert not readiness_of([health], 1).is_well


async def test_slots_in_motion_are_shown_with_who_is_held(source: Source, rows: WorkerRows) -> None:
    before = source.topology
    source_shard = before.owner(Slot(0)).id
    target = next(shard.id for shard in before.shards if shard.id != source_shard)
    motion = SlotsInMotion(7, (Slot(0),), source_shard, target, Motion.PAUSED)
    source.change(before.with_motion(motion))
    [row] = await rows.show("moves")
    assert (row["move"], row["slots"], row["motion"]) == (7, 1, "paused")
    assert (row["owner"], row["held"], row["epoch"]) == (source_shard, 1, before.epoch + 1)


async def test_the_last_topology_is_shown_though_nobody_had_asked(
    source: Source, rows: WorkerRows
) -> None:
    source.change(small_topology(epoch=2, shards=3))
    source.is_over = True
    assert [row["epoch"] for row in await rows.show("shards")] == [2, 2, 2]
