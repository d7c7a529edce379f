"""What each publication makes of a topology, forward and back."""

from dataclasses import replace

import pytest

from shardrouter.catalog import Move
from shardrouter.postgres import Guard
from shardrouter.rebalance.cutover.motions import (
    as_before,
    at_rest,
    flowing,
    handed_over,
    is_in,
    paused,
    with_foreign_rows_on_target,
)
from shardrouter.topology import (
    Direction,
    KeyColumn,
    KeyType,
    Motion,
    Position,
    ShardId,
    Table,
    TableKind,
    Topology,
)
from tests.support.move_rows import some_move
from tests.support.topologies import small_topology

ORDERS = Table("orders", TableKind.SHARDED, (KeyColumn("user_id", KeyType.INT8),))
FLOOR = Position(1, 4096)
S0, S1 = ShardId("s0"), ShardId("s1")


@pytest.fixture
def topology() -> Topology:
    return replace(small_topology(), tables=(ORDERS,))


@pytest.fixture
def move(topology: Topology) -> Move:
    return replace(some_move(), slots=topology.slots_of(S0)[:3])


def admits(topology: Topology, shard: ShardId, move: Move) -> bool:
    """True when the shard's guard lets in rows of the slots: all of them or none."""
    found = {slot in Guard.of(ORDERS, topology, shard).owned for slot in move.slots}
    [answer] = found
    return answer


def test_the_way_forward(topology: Topology, move: Move):
    copying = with_foreign_rows_on_target(topology, move)
    assert (admits(copying, S0, move), admits(copying, S1, move)) == (True, False)
    assert (copying.strangers_on(S0), copying.strangers_on(S1)) == (False, True)
    held = paused(copying, move)
    assert held.paused_slots == set(move.slots)
    assert (admits(held, S0, move), admits(held, S1, move)) == (False, False)
    over = handed_over(held, move)
    assert (admits(over, S0, move), admits(over, S1, move)) == (False, False)
    assert {over.owners[slot] for slot in move.slots} == {S1}
    moved = flowing(over, move, FLOOR)
    assert (admits(moved, S0, move), admits(moved, S1, move)) == (False, True)
    assert (moved.strangers_on(S0), moved.strangers_on(S1)) == (True, False)
    assert moved.floor(S1) == FLOOR
    rest = at_rest(moved, move, S0, FLOOR)
    assert (rest.motions, rest.owners) == ((), moved.owners)
    assert (rest.floor(S0), rest.floor(S1)) == (FLOOR, FLOOR)
    assert [t.epoch for t in (copying, held, over, moved, rest)] == [2, 3, 4, 5, 6]


def test_the_way_back_ends_with_foreign_rows_on_the_target(topology: Topology, move: Move):
    there = flowing(handed_over(paused(topology, move), move), move, FLOOR)
    back = replace(move, direction=Direction.BACK)
    held = paused(there, back)
    assert is_in(held, back, Motion.PAUSED, S1)
    over = handed_over(held, back)
    assert is_in(over, back, Motion.PAUSED, S0)
    home = flowing(over, back, FLOOR)
    assert is_in(home, back, Motion.COPYING, S0)
    assert home.owners == topology.owners
    assert home.strangers_on(S1)


@pytest.mark.parametrize("direction", Direction)
def test_a_retreat_is_the_state_before(topology: Topology, move: Move, direction: Direction):
    begin = with_foreign_rows_on_target(topology, move)
    if direction is Direction.BACK:
        begin = flowing(handed_over(paused(begin, move), move), move, FLOOR)
    move = replace(move, direction=direction)
    after = as_before(paused(begin, move), move)
    assert (after.motions, after.owners, after.paused_slots) == (
        begin.motions,
        begin.owners,
        frozenset(),
    )
    assert admits(after, move.losing, move)


def test_other_moves_stay(topology: Topology, move: Move):
    other = replace(some_move(2), slots=topology.slots_of(S1)[:2], source=S1, target=S0)
    both = paused(paused(topology, other), move)
    assert both.paused_slots == {*move.slots, *other.slots}
    assert at_rest(both, move, S0, FLOOR).motions == paused(topology, other).motions
