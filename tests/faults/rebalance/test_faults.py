"""Each fault in each phase: the mover stands still there, something breaks, and it goes on."""

from collections.abc import Callable
from typing import Final

import pytest

from tests.support.rebalance_faults import FAULTS
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
