"""Shards join and leave while clients of both doors write: no statement fails, no row is lost."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import pytest

from shardrouter.local import LocalFleet
from shardrouter.topology import ShardId
from tests.plugins.fix_proxy import MakeProxy
from tests.plugins.fix_rebalance import MakeBed
from tests.support.cluster import install_catalog
from tests.support.command import started_shardrouter
from tests.support.eventually import PATIENCE
from tests.support.ledger_doors import LibraryDoor, OpenDoor, ProxyDoor
from tests.support.ledger_work import Workload
from tests.support.moving_bed import MovingBed
from tests.support.moving_gather import GatherWatch
from tests.support.moving_watch import Watch, watched

SOAK_SECONDS: Final = 0.5  # all other settings are the defaults
COMMAND_SECONDS: Final = 240.0


class Growth:
    """A fleet with more shards than the topology has at first, and commands of an operator."""

    def __init__(self, bed: MovingBed, make_proxy: MakeProxy) -> None:
        self.bed = bed
        self._proxy = make_proxy(on=bed.cluster)

    @contextmanager
    def clients(self, of_each: int) -> Iterator[Workload]:
        """Run clients of library and proxy, gathers, and the watches."""
        bed = self.bed
        with bed.router() as router, bed.router() as gatherer:
            doors: Sequence[OpenDoor] = [
                lambda: LibraryDoor(router),
                lambda: ProxyDoor(self._proxy.connect),
            ] * of_each
            with (
                watched(bed, [str(node.shard_id) for node in bed.cluster.primaries()]),
                Watch(GatherWatch(gatherer, bed.ledger), 0.02).running(),
                Workload(bed.ledger, bed.groups, doors, seed=of_each).running() as work,
            ):
                work.wait_for_more(50)
                yield work
                work.wait_for_more(200)

    def join(self, shard: str) -> None:
        primary, *replicas = [
            self.bed.cluster.dsn(node.id) for node in self.bed.fleet.nodes if node.shard_id == shard
        ]
        more = [word for dsn in replicas for word in ("--replica", dsn)]
        self.run("shard", "add", shard, "--primary", primary, *more)

    def rebalance(self) -> None:
        self.run("rebalance", "apply", "--yes")

    def run(self, *command: str) -> str:
        """Run an operator's command and return what it said."""
        config = ("--config", str(self.bed.settings_path))
        process = started_shardrouter(*command, *config, cwd=self.bed.folder)
        said, _ = process.communicate(timeout=COMMAND_SECONDS * PATIENCE)
        assert process.returncode == 0, f"{command} ended with {process.returncode}:\n{said}"
        return said

    def counts(self) -> dict[str, int]:
        return {str(shard): count for shard, count in self.bed.topology.slot_counts().items()}

    def check(self) -> None:
        """No statement has failed, and everything is where it belongs."""
        if self.bed.ledger.failures:
            raise AssertionError("\n".join(["", *map(str, self.bed.ledger.failures)]))
        self.bed.wait_clean()


MakeGrowth = Callable[..., Growth]


@pytest.fixture
def make_growth(
    private_fleet: Callable[..., LocalFleet], make_bed: MakeBed, make_proxy: MakeProxy
) -> MakeGrowth:
    def make(shards: int, slots: int, rows: int) -> Growth:
        fleet = private_fleet(shards, 1)
        install_catalog(fleet)
        bed = make_bed(
            fleet,
            slots=slots,
            is_private=True,
            is_quick=False,
            rebalance={"soak_seconds": SOAK_SECONDS},
        )
        bed.open_accounts(range(slots), 2)
        for shard in ("s0", "s1"):
            bed.fill(shard, rows // 2)
        return Growth(bed, make_proxy)

    return make


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_third_shard_joins(make_growth: MakeGrowth) -> None:
    growth = make_growth(3, slots=64, rows=4000)
    before = growth.bed.topology.owners
    with growth.clients(of_each=2):
        growth.join("s2")
        growth.rebalance()
    growth.check()
    assert sorted(growth.counts().values()) == [21, 21, 22]
    after = growth.bed.topology.owners
    moved = [slot for slot in range(64) if before[slot] != after[slot]]
    assert len(moved) == growth.counts()["s2"]  # no slot moved that need not


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_three_four_three(make_growth: MakeGrowth) -> None:
    growth = make_growth(4, slots=256, rows=100_000)
    with growth.clients(of_each=3) as work:
        for shard in ("s2", "s3"):
            growth.join(shard)
            growth.rebalance()
            work.wait_for_more(200)
            counts = growth.counts().values()
            assert max(counts) - min(counts) <= 1
        growth.run("shard", "drain", "s1")
        growth.rebalance()
    growth.check()
    assert growth.counts()["s1"] == 0
    assert ShardId("s1") not in growth.bed.topology.owners
    assert growth.bed.contents()["s1"].entries == {}
