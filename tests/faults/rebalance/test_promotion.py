"""A shard's primary dies for good in a phase of a move, and its replica is promoted."""

from collections.abc import Callable
from typing import Final

import pytest

from shardrouter.local import LocalFleet
from tests.plugins.fix_rebalance import MakeBed, StartMover
from tests.support.cluster import install_catalog
from tests.support.eventually import eventually
from tests.support.rebalance_faults import come_back, promote
from tests.support.rebalance_scene import Scene

pytestmark = pytest.mark.timeout(150)  # a busy machine, and a lease that runs out

PHASES: Final = (
    "preparing.slot_made",
    "copying.subscribed",
    "catching_up.caught_up",
    "ready.gate",
    "pausing.published",
    "fencing.fenced",
    "draining.before_commit",
    "committed.published",
    "committed.flowing",
    "soaking.over",
    "cleaning.chunk",
)

CASES: Final = [
    (phase, shard, comes_back)
    for phase in PHASES
    for shard in ("s0", "s1")
    for comes_back in (False, True)
]

QUICK: Final = ("draining.before_commit", "s0", True)


@pytest.fixture
def scene(
    private_fleet: Callable[..., LocalFleet], make_bed: MakeBed, start_mover: StartMover
) -> Scene:
    fleet = private_fleet(2, 1)
    install_catalog(fleet)
    bed = make_bed(fleet, slots=256, is_private=True)
    scene = Scene(bed, start_mover)
    for shard in ("s0", "s1"):
        keep_in_step(fleet, shard)
    return scene


def keep_in_step(fleet: LocalFleet, shard: str) -> None:
    """Have the replica confirm each commit: no failover loses what was acknowledged."""
    with fleet.node(f"{shard}-p").connect("postgres") as primary:
        primary.execute(f"ALTER SYSTEM SET synchronous_standby_names = '\"{shard}-r1\"'".encode())
        primary.execute("SELECT pg_reload_conf()")

        def is_in_step() -> bool:
            row = primary.execute("SELECT sync_state FROM pg_stat_replication").fetchall()
            return ("sync",) in row

        eventually(is_in_step)


@pytest.mark.parametrize(
    ("phase", "shard", "comes_back"),
    [pytest.param(*case, marks=() if case == QUICK else pytest.mark.slow) for case in CASES],
)
def test_promotion(
    scene: Scene,
    phase: str,
    shard: str,
    comes_back: bool,
    record_property: Callable[[str, object], None],
) -> None:
    which = "source" if shard == "s0" else "target"
    fault = f"{which} promoted, {'the old one comes back' if comes_back else 'the old one gone'}"
    with scene.noted(record_property, phase, fault):
        with scene.clients():
            mover = scene.run_to(phase)
            promote(scene, shard)
            if comes_back:
                come_back(scene, shard)
            mover.thaw()
            scene.finish()
        scene.check(may_fail=True)
