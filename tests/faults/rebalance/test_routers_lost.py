"""Routers die, freeze and come back while slots move; and finish a cutover whose mover died."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

import pytest

from shardrouter.local import LocalFleet
from shardrouter.topology import CUTTING_OVER, MoveState
from tests.plugins.fix_proxy import MakeProxy
from tests.plugins.fix_rebalance import MakeBed, StartMover
from tests.support.eventually import eventually
from tests.support.ledger_doors import ProxyDoor
from tests.support.proxy import ProxyProcess
from tests.support.rebalance_scene import Scene

pytestmark = pytest.mark.timeout(150)  # a busy machine, and a lease that runs out

LEASE_SECONDS: Final = 3
SHORT: Final = {"lease_seconds": LEASE_SECONDS, "poll_seconds": 0.2, "connect_timeout_seconds": 2}

PHASES: Final = (
    "planned.examined",
    "copying.subscribed",
    "ready.gate",
    "pausing.published",
    "pausing.drained",
    "fencing.fenced",
    "draining.before_commit",
    "committed.published",
    "committed.admitted",
    "cleaning.drained",
)

LEFT_OPEN_SECONDS: Final = 0.5  # clients of the library are never idle for so long

QUICK: Final = {("pausing.published", "killed")}


def kill(proxy: ProxyProcess) -> None:
    proxy.destroy()


def freeze(proxy: ProxyProcess) -> None:
    for pid in (proxy.pid, *proxy.worker_pids()):
        os.kill(pid, signal.SIGSTOP)


def end_left_open(scene: Scene) -> None:
    """End what a frozen proxy has left open, as the operator who reads what the move waits for.

    Nobody else does: its row locks hold up clients of other routers, and all of them the cutover.
    """
    open_ones = (
        "FROM pg_stat_activity WHERE state = 'idle in transaction'"
        " AND datname = current_database()"
        f" AND state_change < clock_timestamp() - interval '{LEFT_OPEN_SECONDS} s'"
    )
    time.sleep(2 * LEFT_OPEN_SECONDS)
    for shard in scene.bed.shards:
        with scene.bed.primary(shard) as connection:
            connection.execute(f"SELECT pg_terminate_backend(pid) {open_ones}".encode())


def thaw(proxy: ProxyProcess) -> None:
    for pid in (proxy.pid, *proxy.worker_pids()):
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize(
    ("phase", "what"),
    [
        pytest.param(phase, what, marks=() if (phase, what) in QUICK else pytest.mark.slow)
        for phase in PHASES
        for what in ("killed", "frozen past its lease")
    ],
)
def test_router_lost(
    scene: Scene,
    make_proxy: MakeProxy,
    phase: str,
    what: str,
    record_property: Callable[[str, object], None],
) -> None:
    """Its lease runs out; then nobody waits for it, and it routes nothing any more."""
    proxy = make_proxy(on=scene.bed.cluster, catalog=SHORT)
    with scene.noted(record_property, phase, f"router {what}"):
        with scene.clients(lambda: ProxyDoor(proxy.connect)):
            mover = scene.run_to(phase)
            if what == "killed":
                kill(proxy)
            else:
                freeze(proxy)
                end_left_open(scene)
            mover.thaw()
            scene.finish()
            if what != "killed":
                thaw(proxy)
                eventually(lambda: scene.goes_well_again("proxy"), 30)
        scene.check(may_fail=True)
        assert [str(f) for f in scene.bed.ledger.failures if f.door == "library"] == []


@pytest.mark.parametrize(
    "failpoint",
    [
        pytest.param(name, marks=() if name == "fencing.fenced" else pytest.mark.slow)
        for name in (
            "pausing.published",
            "fencing.locked",
            "fencing.fenced",
            "draining.arrived",
            "draining.before_commit",
            "committed.published",
            "committed.admitted",
        )
    ],
)
def test_a_router_finishes_the_cutover_of_a_dead_mover(
    moving_fleet: LocalFleet,
    make_bed: MakeBed,
    start_mover: StartMover,
    failpoint: str,
    record_property: Callable[[str, object], None],
) -> None:
    """Nobody runs `rebalance resume`; writers are held no longer than the mover's lease."""
    bed = make_bed(moving_fleet, slots=256, rebalance={"take_over": True})
    scene = Scene(bed, start_mover)
    with scene.noted(record_property, failpoint, "mover killed, a router finishes"):
        with ExitStack() as stack:
            work = stack.enter_context(scene.clients())
            scene.die_at(failpoint)
            eventually(lambda: scene.move().state not in CUTTING_OVER, 20)
            work.wait_for_more(50)
            assert scene.move().state not in (MoveState.ABORTING, MoveState.ABORTED)
            scene.finish()
        scene.check(may_fail=False)
