"""The disk of the source's WAL fills up while a move holds WAL back."""

import threading
from collections.abc import Callable

import psycopg
import pytest

from shardrouter.local import LocalFleet
from shardrouter.topology import MoveState
from tests.plugins.fix_rebalance import MakeBed, MakeWalDisk, StartMover
from tests.support.cluster import install_catalog
from tests.support.eventually import eventually
from tests.support.moving_bed import MovingBed
from tests.support.rebalance_scene import Scene

DISK_MB = 128
RETAINED_MB = 16

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def fleet(private_fleet: Callable[..., LocalFleet]) -> LocalFleet:
    fleet = private_fleet(2, 0)
    install_catalog(fleet)
    return fleet


def write_wal(bed: MovingBed, megabytes: int) -> None:
    """Write so much WAL on the source, into a table of nobody's."""
    with bed.primary("s0") as connection:
        connection.execute("CREATE UNLOGGED TABLE IF NOT EXISTS noise (n int)")
        for _ in range(megabytes):
            connection.execute(
                "SELECT pg_logical_emit_message(false, 'noise', repeat('x', 1 << 20))"
            )


@pytest.mark.parametrize("phase", ["copying.subscribed", "catching_up.caught_up", "ready.gate"])
def test_a_full_disk(
    fleet: LocalFleet,
    make_bed: MakeBed,
    start_mover: StartMover,
    wal_disk: MakeWalDisk,
    phase: str,
    record_property: Callable[[str, object], None],
) -> None:
    """The source panics; when there is room again the move goes on."""
    bed = make_bed(fleet, slots=256, is_private=True)
    scene = Scene(bed, start_mover)
    disk = wal_disk(fleet.node("s0-p"), DISK_MB)
    with scene.noted(record_property, phase, "disk of the source's WAL full"):
        with scene.clients():
            mover = scene.run_to(phase)
            disk.fill(leave_mb=2)
            with pytest.raises(psycopg.Error):
                write_wal(bed, 64)
            mover.thaw()
            eventually(lambda: not fleet.node("s0-p").is_running(), 20)
            disk.clear()
            fleet.start()
            scene.finish()
        scene.check(may_fail=True)


def test_the_move_gives_up_before_the_disk_is_full(
    fleet: LocalFleet,
    make_bed: MakeBed,
    start_mover: StartMover,
    wal_disk: MakeWalDisk,
    record_property: Callable[[str, object], None],
) -> None:
    """The target does not apply, the source writes: the move aborts and lets the WAL go."""
    bed = make_bed(
        fleet, slots=256, is_private=True, rebalance={"max_retained_wal_mb": RETAINED_MB}
    )
    scene = Scene(bed, start_mover)
    disk = wal_disk(fleet.node("s0-p"), DISK_MB)
    with scene.noted(record_property, "catching_up", "the target does not apply"):
        with scene.clients():
            mover = scene.run_to("catching_up.caught_up")
            with bed.primary("s1") as blocker, blocker.transaction():
                blocker.execute("SELECT FROM ledger_account FOR UPDATE")
                mover.thaw()
                noise = threading.Thread(target=write_wal, args=(bed, RETAINED_MB * 2))
                noise.start()
                over = (MoveState.ABORTING, MoveState.ABORTED)
                eventually(lambda: scene.move().state in over, 40)
                noise.join()
            scene.finish()
        scene.check(may_fail=True, state=MoveState.ABORTED)
    assert disk.free_mb > 10
