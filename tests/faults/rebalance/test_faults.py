"""Each fault in each phase: the mover stands still there, something breaks, and it goes on."""

import time
from collections.abc import Callable
from typing import Final

import pytest

from shardrouter.local import LocalFleet
from shardrouter.topology import MoveState, Wish
from tests.plugins.fix_rebalance import MakeBed, StartMover
from tests.support.eventually import eventually
from tests.support.rebalance_faults import FAULTS
from tests.support.rebalance_mover import TAKEN_OVER
from tests.support.rebalance_scene import Scene

pytestmark = pytest.mark.timeout(150)  # a busy machine, and a lease that runs out

PHASES: Final = (
    "planned.examined",
    "preparing.slot_made",
    "copying.subscribed",
    "copying.copied",
    "catching_up.caught_up",
    "verifying.chunk",
    "ready.gate",
    "pausing.published",
    "fencing.locked",
    "fencing.fenced",
    "draining.arrived",
    "draining.before_commit",
    "committed.published",
    "committed.admitted",
    "committed.flowing",
    "soaking.over",
    "cleaning.drained",
    "cleaning.chunk",
)

FREEZE_SECONDS: Final = 30.0

QUICK: Final = {
    ("copying.subscribed", "source crashed, restarted"),
    ("draining.before_commit", "mover frozen past its lease"),
    ("committed.published", "target crashed, restarted"),
}


def cases() -> list[object]:
    return [
        pytest.param(phase, fault, marks=() if (phase, fault) in QUICK else pytest.mark.slow)
        for phase in PHASES
        for fault in FAULTS
    ]


@pytest.mark.parametrize(("phase", "fault"), cases())
def test_fault(
    scene: Scene, phase: str, fault: str, record_property: Callable[[str, object], None]
) -> None:
    wrong = FAULTS[fault]
    with scene.noted(record_property, phase, fault):
        with scene.clients():
            mover = scene.run_to(phase)
            wrong.inject(scene)
            mover.thaw()
            wrong.mends(scene)
            scene.finish()
        scene.check(may_fail=wrong.hurts_clients)


@pytest.mark.slow
def test_a_mover_that_wakes_after_the_move_was_made_anew(scene: Scene) -> None:
    """It was deleting rows from the target; by now they are the only ones."""
    with scene.clients():
        scene.die_at("ready.gate")
        scene.wish(Wish.ABORT)
        frozen, scene.mover = scene.run_to("aborting.chunk"), None
        assert scene.finish().state is MoveState.ABORTED
        scene.make_anew()
        scene.finish()
        frozen.thaw()
        assert frozen.wait() == TAKEN_OVER
    scene.check(may_fail=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "phase",
    ["copying.subscribed", "fencing.locked", "draining.before_commit", "committed.admitted"],
)
def test_frozen_for_thirty_seconds(
    moving_fleet: LocalFleet,
    make_bed: MakeBed,
    start_mover: StartMover,
    phase: str,
    record_property: Callable[[str, object], None],
) -> None:
    """With the default lease: the next mover has long ended when the first one wakes."""
    bed = make_bed(moving_fleet, slots=256, is_quick=False, rebalance={"take_over": False})
    scene = Scene(bed, start_mover)
    with scene.noted(record_property, phase, "mover frozen for 30 s"):
        with scene.clients():
            frozen, scene.mover = scene.run_to(phase), None
            until = time.monotonic() + FREEZE_SECONDS
            scene.finish()
            eventually(lambda: time.monotonic() > until, FREEZE_SECONDS + 1)
            frozen.thaw()
            assert frozen.wait() == TAKEN_OVER
        scene.check(may_fail=False)
