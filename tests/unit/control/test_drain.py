"""Which epochs a process has drained, look by look."""

from shardrouter.control import Drain
from shardrouter.control.drain import DrainWatch
from shardrouter.topology import Motion, ShardId, Slot, SlotsInMotion
from tests.support.topologies import small_topology

STILL = small_topology(5)
MOVING = STILL.with_motion(
    SlotsInMotion(1, (Slot(0),), ShardId("s0"), ShardId("s1"), Motion.COPYING)
)


def epochs(watch: DrainWatch) -> tuple[int, int]:
    return watch.readers, watch.writers


def test_a_still_topology_is_drained_without_a_question() -> None:
    watch = DrainWatch()
    watch.watch(lambda _: Drain(readers=False, writers=False))
    assert watch.look(STILL)
    assert epochs(watch) == (5, 5)
    assert not watch.look(STILL)
    assert not watch.is_waiting


def test_each_kind_is_drained_on_its_own_and_stays_so() -> None:
    watch = DrainWatch()
    watch.look(STILL)
    answers = iter([(False, False), (True, False), (False, False), (False, True)])
    watch.watch(lambda _: Drain(*next(answers)))
    seen = [(watch.look(MOVING), *epochs(watch), watch.is_waiting) for _ in range(4)]
    assert seen == [
        (False, 5, 5, True),
        (True, 6, 5, True),
        (False, 6, 5, True),
        (True, 6, 6, False),
    ]
    assert not watch.look(MOVING)  # nothing is asked any more
    assert not watch.is_waiting
