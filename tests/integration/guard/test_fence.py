"""The guards of a topology that pauses slots keep everybody out of them, whoever owns them."""

import psycopg
import pytest

from shardrouter.errors import SlotNotOwned, StaleEpoch
from shardrouter.postgres import GuardState, check_guards, has_foreign_rows
from shardrouter.postgres.guard_sql import Guard
from shardrouter.topology import Motion, ShardId, SlotsInMotion, Topology, key_slot
from tests.support.guarded import ORDERS, Guarded

S0, S1 = ShardId("s0"), ShardId("s1")


def paused(guarded: Guarded, key: int) -> tuple[Topology, Topology, Topology]:
    """Return the topologies of a cutover of the key's slot: before, after its commit, admitted."""
    slots = (key_slot(key, guarded.topology.slots),)

    def motion(kind: Motion) -> SlotsInMotion:
        return SlotsInMotion(7, slots, S0, S1, kind)

    before = guarded.topology.with_motion(motion(Motion.PAUSED))
    committed = before.next(owners=before.owners_with(slots, S1))
    return before, committed, committed.with_motion(motion(Motion.MOVED))


def states(guarded: Guarded, topology: Topology) -> list[GuardState]:
    found = []
    for shard in (S0, S1):
        with guarded.engines[shard].connect() as connection:
            found += [report.state for report in check_guards(connection, topology, shard)]
    return found


def refuses(guarded: Guarded, shard: str, key: int) -> bool:
    """Try INSERT, UPDATE and DELETE; say whether all are refused, or all go through."""
    outcomes = set()
    for statement in (
        f"INSERT INTO orders VALUES (77, {key})",
        f"UPDATE orders SET note = 'x' WHERE user_id = {key}",
        f"DELETE FROM orders WHERE user_id = {key}",
    ):
        with guarded.connect(shard) as connection:
            try:
                connection.execute(statement.encode())
                outcomes.add(False)
            except psycopg.Error as error:
                assert error.sqlstate == SlotNotOwned.sqlstate
                assert error.diag.message_primary
                assert f"shard {shard} does not own slot" in error.diag.message_primary
                outcomes.add(True)
            connection.rollback()
    (outcome,) = outcomes
    return outcome


@pytest.fixture
def key(guarded: Guarded) -> int:
    """A key of s0 with a row on both shards, as replication would have brought it there."""
    key = guarded.key_of("s0")
    for shard in (S0, S1):
        with guarded.connect(shard) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute(f"INSERT INTO orders VALUES (1, {key})".encode())
    return key


def test_a_paused_slot_is_written_nowhere_before_and_after_the_commit(
    guarded: Guarded, key: int
) -> None:
    bystander = guarded.key_of("s0", 1)
    for topology in paused(guarded, key)[:2]:
        for shard in (S0, S1):
            guarded.install(topology, shard)
            assert refuses(guarded, shard, key)
        with guarded.connect("s0") as connection:
            connection.execute(f"INSERT INTO orders VALUES (2, {bystander})".encode())
            connection.execute("DELETE FROM orders WHERE id = 2")
    admitted = paused(guarded, key)[2]
    guarded.install(admitted, "s1")
    assert refuses(guarded, "s0", key)
    assert not refuses(guarded, "s1", key)


def test_the_fence_of_the_loser_is_all_a_cutover_needs(guarded: Guarded, key: int) -> None:
    before, committed, admitted = paused(guarded, key)
    assert states(guarded, before) == [GuardState.STALE, GuardState.OK]
    guarded.install(before, "s0")
    assert states(guarded, before) == [GuardState.OK, GuardState.OK]
    assert states(guarded, committed) == [GuardState.OK, GuardState.OK]
    assert states(guarded, admitted) == [GuardState.OK, GuardState.STALE]
    guarded.install(admitted, "s1")
    assert states(guarded, admitted) == [GuardState.OK, GuardState.OK]


def test_nobody_lifts_the_fence_by_accident(guarded: Guarded, key: int) -> None:
    before, committed, _ = paused(guarded, key)
    guarded.install(before, "s0")
    with pytest.raises(StaleEpoch):
        guarded.install(guarded.topology, "s0")
    for by_others in (before.next(), committed, committed.next()):
        guarded.install(by_others, "s0")
        assert refuses(guarded, "s0", key)


def test_a_cutover_that_is_put_off_lifts_its_fence(guarded: Guarded, key: int) -> None:
    before = paused(guarded, key)[0]
    guarded.install(before, "s0")
    motion = before.motions[0]
    again = before.with_motion(
        SlotsInMotion(motion.move, motion.slots, motion.source, motion.target, Motion.COPYING)
    )
    guarded.install(again, "s0")
    assert not refuses(guarded, "s0", key)
    assert refuses(guarded, "s1", key)


def test_rows_of_paused_slots_are_not_foreign(guarded: Guarded, key: int) -> None:
    """A table may be registered while a cutover is under way."""
    before, committed, _ = paused(guarded, key)
    found = []
    for topology in (before, committed):
        for shard in (S0, S1):
            with guarded.engines[shard].connect() as connection:
                found.append(has_foreign_rows(connection, Guard.of(ORDERS, topology, shard)))
    assert found == [False, True, True, False]
