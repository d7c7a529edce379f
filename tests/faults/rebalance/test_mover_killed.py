"""kill -9 of the mover at every named step; the next mover brings the move to its end."""

from collections.abc import Callable
from typing import Final

import pytest

from shardrouter.rebalance.failpoints import FAILPOINTS
from shardrouter.topology import CUTTING_OVER, Direction, MoveState, Wish
from tests.plugins.fix_rebalance import StartMover
from tests.support.eventually import eventually
from tests.support.moving_bed import MovingBed
from tests.support.rebalance_scene import Scene

pytestmark = pytest.mark.timeout(150)  # a busy machine, and a lease that runs out

QUICK: Final = ("draining.before_commit", "committed.published")
"""On both sides of the point of no return; the others are slow in sum."""

ROUNDABOUT: Final = ("retreating", "restarting", "aborting")
"""States that a move which goes well never sees."""

OF_FAST_COPY: Final = ("copying.chunk",)

STRAIGHT: Final = tuple(
    name for name in FAILPOINTS if not name.startswith((*ROUNDABOUT, *OF_FAST_COPY))
)

BACK: Final = tuple(
    name
    for name in FAILPOINTS
    if MoveState(name.partition(".")[0]) in CUTTING_OVER
    and not name.startswith(("retreating", "committed.reversed"))
)
"""Steps of a cutover that goes well on the way back."""


def cases(names: tuple[str, ...]) -> list[object]:
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


def of_state(state: str) -> list[object]:
    return [
        pytest.param(name, marks=pytest.mark.slow)
        for name in FAILPOINTS
        if name.startswith(f"{state}.")
    ]


@pytest.mark.parametrize("failpoint", cases(STRAIGHT))
def test_on_the_straight_way(
    scene: Scene, failpoint: str, record_property: Callable[[str, object], None]
) -> None:
    with scene.noted(record_property, failpoint, "mover killed"):
        with scene.clients():
            scene.die_at(failpoint)
            scene.finish()
        scene.check(may_fail=False)
        assert scene.attention == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "failpoint",
    ("preparing.published", "copying.chunk", "copying.copied", "copying.subscribed", "ready.gate"),
)
def test_with_a_fast_copy(
    bed: MovingBed,
    start_mover: StartMover,
    failpoint: str,
    record_property: Callable[[str, object], None],
) -> None:
    """Its snapshot dies with the mover: a copy that was not complete begins anew."""
    scene = Scene(bed, start_mover, copy_mode="fast")
    with scene.noted(record_property, failpoint, "mover killed, fast copy"):
        with scene.clients():
            scene.die_at(failpoint)
            scene.finish()
        scene.check(may_fail=False)
        assert scene.move().attempt == (2 if failpoint == "copying.chunk" else 1)


@pytest.mark.parametrize("failpoint", of_state("aborting"))
@pytest.mark.parametrize("aborted_in", ["copying.subscribed", "ready.gate"])
def test_while_it_aborts(
    scene: Scene,
    failpoint: str,
    aborted_in: str,
    record_property: Callable[[str, object], None],
) -> None:
    with scene.noted(record_property, failpoint, f"mover killed, aborted in {aborted_in}"):
        with scene.clients():
            scene.die_at(aborted_in)
            scene.wish(Wish.ABORT)
            scene.die_at(failpoint)
            scene.finish()
        scene.check(may_fail=False, state=MoveState.ABORTED)


def lose_stream(scene: Scene) -> None:
    """Drop the replication slot of the move: what was written since can never be applied."""
    with scene.bed.primary("s0") as connection:
        named = (
            "SELECT slot_name FROM pg_replication_slots"
            " WHERE slot_type = 'logical' AND database = current_database()"
        )

        def is_dropped() -> bool:
            for (name,) in connection.execute(named).fetchall():
                connection.execute(
                    "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
                    " WHERE slot_name = %s AND active_pid IS NOT NULL",
                    [name],
                )
                with connection.transaction():
                    connection.execute(
                        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
                        " WHERE slot_name = %s AND NOT active",
                        [name],
                    )
            return not connection.execute(named).fetchall()

        eventually(is_dropped)


@pytest.mark.parametrize("failpoint", of_state("restarting"))
def test_while_it_restarts(
    scene: Scene, failpoint: str, record_property: Callable[[str, object], None]
) -> None:
    with scene.noted(record_property, failpoint, "mover killed, stream lost"):
        with scene.clients():
            scene.die_at("catching_up.caught_up")
            lose_stream(scene)
            scene.die_at(failpoint)
            scene.finish()
        scene.check(may_fail=False)
        assert scene.move().attempt == 2


@pytest.mark.parametrize("failpoint", of_state("retreating"))
def test_while_it_retreats(
    scene: Scene, failpoint: str, record_property: Callable[[str, object], None]
) -> None:
    """A writer past all routers holds its row; the cutover gives way to it."""
    with scene.noted(record_property, failpoint, "mover killed, writer in the way"):
        account, _ = scene.open_quiet_account()
        with scene.clients():
            scene.die_at("ready.gate")
            with scene.bed.primary("s0") as writer:
                with writer.transaction():
                    writer.execute(
                        "UPDATE ledger_account SET balance = balance WHERE id = %s", [account]
                    )
                    scene.die_at(failpoint)
            scene.finish()
        scene.check(may_fail=False)
        assert scene.move().cutovers >= 2


@pytest.mark.slow
@pytest.mark.parametrize("failpoint", BACK)
def test_while_it_goes_back(
    scene: Scene, failpoint: str, record_property: Callable[[str, object], None]
) -> None:
    """The same on the way back, after ``move reverse``."""
    with scene.noted(record_property, failpoint, "mover killed on the way back"):
        with scene.clients():
            scene.soak()
            scene.wish(Wish.REVERSE)
            scene.die_at(failpoint)
            scene.finish()
        scene.check(may_fail=False, state=MoveState.REVERSED)
        assert scene.move().direction is Direction.BACK
