"""Fixtures of moves: shards whose servers may be killed, beds on them, movers, small disks."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from shardrouter.local import LocalFleet, LocalServer
from tests.support.cluster import install_catalog
from tests.support.moving_bed import MovingBed
from tests.support.rebalance_process import MoverProcess
from tests.support.rebalance_scene import Scene
from tests.support.wal_disk import WalDisk, may_mount

MakeBed = Callable[..., MovingBed]
StartMover = Callable[..., MoverProcess]
MakeWalDisk = Callable[[LocalServer, int], WalDisk]


@pytest.fixture(scope="session")
def moving_fleet() -> Iterator[LocalFleet]:
    """2 shards with a replica each whose servers a test may kill, freeze and stop, not promote."""
    fleet = LocalFleet.temporary(2, 1)
    install_catalog(fleet)
    yield fleet
    fleet.destroy()


@pytest.fixture
def make_bed(tmp_path: Path) -> Iterator[MakeBed]:
    """A factory of beds: ``make_bed(fleet, rebalance={...})``. A shared fleet runs at the end."""
    made: list[MovingBed] = []

    def make(fleet: LocalFleet, **options: Any) -> MovingBed:
        folder = tmp_path / f"bed{len(made)}"
        folder.mkdir()
        made.append(MovingBed(fleet, folder, **options))
        return made[-1].make()

    yield make
    for bed in made:
        if bed.is_private:
            bed.close()
            continue
        for server in bed.fleet.servers:
            server.thaw()
        bed.fleet.start()
        bed.drop()


@pytest.fixture
def bed(moving_fleet: LocalFleet, make_bed: MakeBed) -> MovingBed:
    """Two shards with the ledger's tables and 256 slots; nothing is in them."""
    return make_bed(moving_fleet, slots=256)


@pytest.fixture
def start_mover() -> Iterator[StartMover]:
    """A factory of movers: ``start_mover(bed, number, failpoint="ready.gate:exit")``."""
    started: list[MoverProcess] = []

    def start(bed: MovingBed, move: int, **options: Any) -> MoverProcess:
        options.setdefault("name", f"mover{len(started)}")
        started.append(MoverProcess(bed.mover_settings_path, move, **options))
        return started[-1]

    yield start
    for mover in started:
        mover.kill()


@pytest.fixture
def scene(bed: MovingBed, start_mover: StartMover) -> Scene:
    """One move of a few hundred rows from s0 to s1, not begun yet."""
    return Scene(bed, start_mover)


@pytest.fixture
def wal_disk(tmp_path: Path) -> Iterator[MakeWalDisk]:
    """A factory: ``wal_disk(server, size_mb)`` puts a server's WAL on a tmpfs of that size."""
    if not may_mount():
        pytest.skip("mounting a tmpfs needs root")
    with ExitStack() as stack:

        def make(server: LocalServer, size_mb: int) -> WalDisk:
            disk = WalDisk(server, tmp_path / f"disk-{server.id}", size_mb)
            stack.callback(disk.remove)
            disk.take_wal()
            return disk

        yield make
