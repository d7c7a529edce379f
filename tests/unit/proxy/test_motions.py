"""Who waits while slots are handed over, whose rows went away, and what is still open."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest

from shardrouter.proxy.relay.draining import drain_of
from shardrouter.proxy.relay.motions import concerns, motion_for, must_wait, new_home
from shardrouter.topology import Motion, ShardId, Slot, SlotsInMotion, Topology
from shardrouter.wire.backend_stream import BackendStream
from shardrouter.wire.codes import Owed
from tests.support.topologies import small_topology

S0, S1, S2 = ShardId("s0"), ShardId("s1"), ShardId("s2")
MOVING, STAYING = Slot(0), Slot(3)
"""Both of s0 in a topology of three shards."""

EPOCH = 5


@dataclass
class Wishes:
    shard: str | None = None
    slot: int | None = None
    is_any_shard_right: bool = False
    least_epoch: int = 0


KEY, OTHER_KEY = Wishes(slot=MOVING), Wishes(slot=STAYING)
LOSING, GAINING, BYSTANDER = Wishes(shard=S0), Wishes(shard=S1), Wishes(shard=S2)
NOTHING = Wishes()


def in_motion(motion: Motion, owner: ShardId = S0) -> Topology:
    """Return a topology in which the slot MOVING goes from s0 to s1."""
    before = small_topology(epoch=EPOCH - 1, shards=3)
    moving = SlotsInMotion(1, (MOVING,), S0, S1, motion)
    return before.with_motion(moving, owners=before.owners_with((MOVING,), owner))


COPYING, PAUSED = in_motion(Motion.COPYING), in_motion(Motion.PAUSED)
COMMITTED, MOVED = in_motion(Motion.PAUSED, S1), in_motion(Motion.MOVED, S1)


@pytest.mark.parametrize(
    ("topology", "waiting"),
    [
        (COPYING, []),
        (PAUSED, [KEY, LOSING]),
        (COMMITTED, [KEY, GAINING]),
        (MOVED, []),
    ],
    ids=["copying", "paused", "committed", "moved"],
)
def test_who_waits(topology: Topology, waiting: list[Wishes]) -> None:
    for wishes in (KEY, OTHER_KEY, LOSING, GAINING, BYSTANDER, NOTHING):
        waits = must_wait(wishes, topology, reads=False)
        assert waits == (wishes in waiting)
        assert not must_wait(wishes, topology, reads=True)
        assert waits == (motion_for(wishes, topology) is not None)


def test_what_concerns_no_shard_does_not_wait() -> None:
    assert not must_wait(Wishes(slot=MOVING, is_any_shard_right=True), PAUSED, reads=False)


@pytest.mark.parametrize("reads", [False, True])
def test_who_was_refused_by_a_newer_guard_waits_for_its_topology(reads: bool) -> None:
    assert must_wait(Wishes(slot=STAYING, least_epoch=EPOCH + 1), COPYING, reads=reads)
    assert not must_wait(Wishes(slot=STAYING, least_epoch=EPOCH), COPYING, reads=reads)


@pytest.mark.parametrize(
    ("wishes", "shard", "home"),
    [
        (KEY, S0, S1),
        (KEY, S1, None),
        (OTHER_KEY, S0, None),
        (LOSING, S0, None),  # it named the shard, not a key
        (NOTHING, S0, S1),  # it took the shard for the whole fleet
    ],
)
def test_whose_rows_went_away(wishes: Wishes, shard: ShardId, home: ShardId | None) -> None:
    assert new_home(wishes, MOVED, shard) == home
    assert new_home(KEY, PAUSED, S0) is None


def test_who_is_looked_at_before_it_begins_anew() -> None:
    for topology in (COPYING, PAUSED, COMMITTED, MOVED):
        assert concerns(KEY, topology, S0)
        assert not concerns(OTHER_KEY, topology, S0)
        assert not concerns(BYSTANDER, topology, S2)
    assert concerns(LOSING, PAUSED, S0)
    assert not concerns(LOSING, COMMITTED, S0)
    gone = MOVED.without_motion(1)
    assert concerns(KEY, gone, S0)
    assert not concerns(KEY, gone, S1)


def at_work(
    wishes: Wishes, *, epoch: int = EPOCH - 1, shard: ShardId = S0, writes: bool = True, **how: Any
) -> Any:
    """Return a backend whose client owes an answer, or as ``how`` says of its stream."""
    stream = BackendStream()
    if not how:
        stream.expect(int(Owed.QUERY))
    for name, value in how.items():
        setattr(stream, name, value)
    choice = SimpleNamespace(shard=wishes.shard, slot=wishes.slot, epoch=epoch)
    client = SimpleNamespace(session=SimpleNamespace(choice=choice), stream=SimpleNamespace(left=0))
    return SimpleNamespace(
        relay=SimpleNamespace(stream=stream, client=client),
        pool=SimpleNamespace(is_for_writes=writes, shard=SimpleNamespace(id=shard)),
    )


@pytest.mark.parametrize(
    ("topology", "backend", "readers", "writers"),
    [
        (COPYING, at_work(KEY), False, True),
        (COPYING, at_work(LOSING), True, True),
        (PAUSED, at_work(KEY), False, False),
        (PAUSED, at_work(KEY, writes=False), False, True),
        (PAUSED, at_work(OTHER_KEY), True, True),
        (PAUSED, at_work(LOSING), True, False),
        (PAUSED, at_work(NOTHING), True, False),
        (PAUSED, at_work(GAINING, shard=S1), True, True),
        (PAUSED, at_work(KEY, epoch=EPOCH), True, True),
        (PAUSED, at_work(KEY, status=ord("I")), True, True),
        (PAUSED, at_work(KEY, status=ord("T")), False, False),
        (PAUSED, at_work(KEY, status=ord("E")), False, False),
        (PAUSED, at_work(KEY, is_skipping=True), False, False),
        (MOVED, at_work(KEY), False, True),
    ],
)
def test_what_is_open(topology: Topology, backend: Any, readers: bool, writers: bool) -> None:
    assert drain_of(topology, [cast("Any", backend)]) == (readers, writers)


def test_backends_nobody_has_are_not_open() -> None:
    idle = at_work(KEY)
    idle.relay.client = None
    assert drain_of(PAUSED, [idle]) == (True, True)
