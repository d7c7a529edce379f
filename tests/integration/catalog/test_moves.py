"""Moves in the catalog: made, brought from state to state, published with."""

from dataclasses import replace
from uuid import uuid4

import pytest

from shardrouter.catalog import CatalogStore, MoveStore, NewMove
from shardrouter.errors import (
    MoveBusy,
    MoveError,
    MoveRefused,
    MoveTakenOver,
    StaleEpoch,
    UnknownMove,
    UnknownShard,
)
from shardrouter.topology import (
    Direction,
    Epoch,
    Motion,
    MoveState,
    Position,
    ShardId,
    Slot,
    Wish,
)
from tests.support.catalog_moves import (
    EVEN,
    OTHER,
    S0,
    S1,
    TO_DRAINING,
    brought_to,
    claimed,
    in_motion,
    made,
    with_paused_at_target,
)
from tests.support.eventually import eventually

# Making moves


def test_a_new_move_is_planned_and_nobodys(moves: MoveStore) -> None:
    run = uuid4()
    new = NewMove((Slot(4), Slot(2), Slot(2)), S0, S1, copy_mode="fast", soak_seconds=7, run=run)
    move = moves.create(new, actor="ann", reason="balance")
    assert (move.state, move.direction, move.attempt) == (MoveState.PLANNED, Direction.FORWARD, 1)
    assert (move.slots, move.source, move.target, move.run) == ((2, 4), "s0", "s1", run)
    assert (move.copy_mode, move.soak_seconds) == ("fast", 7)
    assert (move.owner, move.token, move.wish, move.held) == (None, 0, None, False)
    assert (move.losing, move.gaining, move.is_over) == ("s0", "s1", False)
    assert (move.progress, move.facts, move.epoch) == ({}, {}, 0)
    assert moves.find(move.number) == move


def test_who_and_why_are_in_the_journal(moves: MoveStore, store: CatalogStore) -> None:
    move = moves.advance(claimed(moves), MoveState.PREPARING, reason="all is well")
    step, claim, planned = store.events(limit=3)
    assert (step.kind, step.actor, step.reason) == ("move_preparing", "mover@1", "all is well")
    assert step.detail == {"move": move.number, "before": "planned", "token": 1}
    assert (claim.kind, claim.actor, claim.detail["before"]) == ("move_claimed", "mover@1", None)
    assert (planned.kind, planned.actor, planned.reason) == ("move_planned", "ann", "balance")
    assert planned.detail == {"move": move.number, "slots": 3, "from": "s0", "to": "s1"}


def test_a_slot_is_in_one_unfinished_move(moves: MoveStore) -> None:
    first = claimed(moves)
    with pytest.raises(MoveRefused, match=f"slot 4 is in move {first.number} already") as caught:
        made(moves, (Slot(4), Slot(6)))
    assert f"shardrouter move abort {first.number}" in str(caught.value)
    assert made(moves, OTHER).number > first.number
    moves.advance(first, MoveState.ABORTED, reason="r")
    made(moves)


@pytest.mark.parametrize(
    ("new", "kind", "says"),
    [
        (NewMove((Slot(1),), S0, S1), MoveRefused, "slot 1 belongs to shard s1"),
        (NewMove((), S0, S1), MoveRefused, "needs slots"),
        (NewMove(EVEN, S0, S0), MoveRefused, "target that is not their source"),
        (NewMove((Slot(64),), S0, S1), MoveRefused, "from 0 to 63"),
        (NewMove(EVEN, S0, ShardId("s9")), UnknownShard, "no shard 's9'"),
    ],
)
def test_what_no_move_can_be(
    moves: MoveStore, new: NewMove, kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says):
        moves.create(new, actor="ann", reason="r")
    assert moves.list() == []


def test_a_fleet_without_shards_has_nothing_to_move(store: CatalogStore) -> None:
    with pytest.raises(MoveRefused, match="no shards yet"):
        made(store.moves())


def test_lists(moves: MoveStore) -> None:
    first, second = claimed(moves), made(moves, OTHER)
    moves.advance(first, MoveState.ABORTED, reason="r")
    third = made(moves)
    assert [m.number for m in moves.list()] == [third.number, second.number, first.number]
    assert [m.number for m in moves.list(limit=1)] == [third.number]
    assert [m.number for m in moves.list(unfinished=True)] == [second.number, third.number]
    with pytest.raises(UnknownMove, match="no move 99"):
        moves.find(99)


# Owners


def test_a_second_claimer_is_refused_until_the_lease_is_over(moves: MoveStore) -> None:
    move = moves.claim(made(moves).number, "mover@1", 0.3)
    assert (move.owner, move.token) == ("mover@1", 1)
    assert 0 < move.lease_seconds_left <= 0.3
    with pytest.raises(MoveBusy, match=f"mover@1 carries move {move.number} out, until 20"):
        moves.claim(move.number, "mover@2", 10.0)
    eventually(lambda: moves.unattended([MoveState.PLANNED]))
    second = moves.claim(move.number, "mover@2", 10.0)
    assert (second.owner, second.token) == ("mover@2", 2)
    for late in (
        lambda: moves.renew(move, 10.0),
        lambda: moves.advance(move, MoveState.PREPARING, reason="r"),
        lambda: moves.amend(move, attempt=2),
        lambda: moves.record_artefact(move, S0, "publication", "p"),
    ):
        with pytest.raises(MoveTakenOver, match=r"taken over by mover@2 \(token 2"):
            late()
    moves.release(move)
    assert moves.find(move.number) == second


def test_an_owner_claims_again_and_its_former_self_is_refused(moves: MoveStore) -> None:
    before = claimed(moves)
    after = moves.claim(before.number, "mover@1", 10.0)
    assert after.token == before.token + 1
    with pytest.raises(MoveTakenOver):
        moves.renew(before, 10.0)


def test_renewing_keeps_the_lease_notes_progress_and_shows_wishes(moves: MoveStore) -> None:
    move = moves.claim(made(moves).number, "mover@1", 1.0)
    moves.wish(move.number, Wish.HOLD, actor="bob", reason="lunch")
    fresh = moves.renew(move, 60.0, progress={"rows_copied": 3})
    assert fresh.lease_seconds_left > 50
    assert fresh.progress == {"rows_copied": 3}
    assert (fresh.wish, fresh.wished_by, fresh.wish_reason) == (Wish.HOLD, "bob", "lunch")
    assert moves.renew(fresh, 60.0).progress == {"rows_copied": 3}


def test_a_released_move_is_free_at_once(moves: MoveStore) -> None:
    move = claimed(moves)
    moves.release(move)
    with pytest.raises(MoveTakenOver, match="is nobody's now"):
        moves.renew(move, 10.0)
    assert moves.find(move.number).owner is None
    assert moves.claim(move.number, "mover@2", 10.0).token == 2


def test_a_move_that_is_over_has_no_owner_any_more(moves: MoveStore) -> None:
    move = moves.advance(claimed(moves), MoveState.ABORTED, reason="r")
    moves.release(move)
    assert moves.find(move.number).is_over
    with pytest.raises(MoveRefused, match="is aborted"):
        moves.claim(move.number, "mover@2", 10.0)


def test_the_unattended(moves: MoveStore) -> None:
    move = claimed(moves)
    assert moves.unattended(list(MoveState)) == []
    moves.release(move)
    assert [m.number for m in moves.unattended([MoveState.PLANNED])] == [move.number]
    assert moves.unattended([MoveState.PAUSING]) == []


def test_how_long_a_move_is_silent(moves: MoveStore) -> None:
    number = made(moves).number
    assert moves.claim(number, "mover@1", 10.0).silent_seconds == 0
    moves.claim(number, "mover@1", 0.001)
    eventually(lambda: moves.find(number).silent_seconds > 0.05)
    moves.release(moves.claim(number, "mover@2", 10.0))
    eventually(lambda: 0.0 < moves.find(number).silent_seconds < 5.0)


def test_a_move_that_is_left_as_by_the_dead_keeps_its_owners_name(moves: MoveStore) -> None:
    move = claimed(moves)
    moves.release(move, dead_since=move.state_at)
    left = moves.find(move.number)
    assert (left.owner, left.owner_expires_at) == ("mover@1", move.state_at)
    assert left.lease_seconds_left == 0
    assert left.silent_seconds > left.untouched_seconds
    assert [m.number for m in moves.unattended([MoveState.PLANNED])] == [move.number]
    assert moves.claim(move.number, "mover@2", 10.0).token == 2


def test_a_claim_may_be_left_out_of_the_journal(store: CatalogStore, moves: MoveStore) -> None:
    number = made(moves).number
    moves.claim(number, "mover@1", 10.0, is_noted=False)
    assert "move_claimed" not in [event.kind for event in store.events()]


# Steps


def test_steps_follow_the_table(moves: MoveStore) -> None:
    move = claimed(moves)
    with pytest.raises(MoveError, match="cannot go from planned to committed"):
        moves.advance(move, MoveState.COMMITTED, reason="r")
    next_one = moves.advance(
        move, MoveState.PREPARING, reason="r", attempt=2, facts={"a": 1}, direction=Direction.BACK
    )
    assert (next_one.state, next_one.attempt, next_one.facts) == (MoveState.PREPARING, 2, {"a": 1})
    assert (next_one.losing, next_one.gaining) == ("s1", "s0")
    assert next_one.state_at > move.state_at
    with pytest.raises(MoveTakenOver, match="is preparing, and not planned any more"):
        moves.advance(move, MoveState.PREPARING, reason="r")
    with pytest.raises(MoveTakenOver, match="is preparing, and not planned any more"):
        moves.amend(move, held=True)
    amended = moves.amend(next_one, attention="look at it", pause_seconds=0.04, cutovers=1)
    assert (amended.attention, amended.pause_seconds, amended.cutovers) == ("look at it", 0.04, 1)
    assert amended.state_at == next_one.state_at


@pytest.mark.parametrize("change", [{"token": 9}, {"state": "done"}, {"wish": Wish.ABORT}])
def test_a_mover_changes_only_what_is_its_own(moves: MoveStore, change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="a mover cannot set"):
        moves.amend(claimed(moves), **change)


def test_artefacts_are_kept_until_forgotten(moves: MoveStore) -> None:
    move = claimed(moves)
    for _ in range(2):
        moves.record_artefact(move, S0, "publication", "sr_1")
    moves.record_artefact(move, S1, "subscription", "sr_1")
    first, second = moves.artefacts(move.number)
    assert (first.shard, first.kind, first.name) == ("s0", "publication", "sr_1")
    moves.forget_artefact(move, first)
    assert moves.artefacts(move.number) == [second]


# Publications


def test_topology_and_state_are_published_together(moves: MoveStore, store: CatalogStore) -> None:
    move = brought_to(moves, *TO_DRAINING)
    after = with_paused_at_target(store.load(), move)
    done = moves.publish(
        move, MoveState.COMMITTED, after, expected=Epoch(1), reason="cutover", cutovers=1
    )
    assert (done.state, done.epoch, done.cutovers) == (MoveState.COMMITTED, 2, 1)
    assert done.cutover_at == done.state_at
    assert store.load() == after
    assert [event.kind for event in store.events(limit=2)] == [
        "topology_published",
        "move_committed",
    ]
    lifted = replace(
        after.with_motion(in_motion(move, Motion.MOVED)),
        floors=after.floors_with(S1, Position(1, 77)),
    )
    same = moves.publish(done, None, lifted, expected=Epoch(2), reason="admit", pause_seconds=0.1)
    assert (same.state, same.epoch, same.pause_seconds) == (MoveState.COMMITTED, 3, 0.1)
    assert store.load() == lifted
    assert store.history(limit=1)[0].actor == "mover@1"


def test_of_a_stale_publication_nothing_takes_place(moves: MoveStore, store: CatalogStore) -> None:
    move = brought_to(moves, *TO_DRAINING)
    before = store.load()
    store.publish(before.next(), expected=Epoch(1), actor="bob", reason="first")
    with pytest.raises(StaleEpoch):
        moves.publish(
            move,
            MoveState.COMMITTED,
            with_paused_at_target(before, move),
            expected=Epoch(1),
            reason="late",
        )
    assert moves.find(move.number).state is MoveState.DRAINING
    assert store.events(limit=1)[0].reason == "first"


def test_a_zombie_publishes_nothing(moves: MoveStore, store: CatalogStore) -> None:
    zombie = brought_to(moves, *TO_DRAINING)
    moves.claim(zombie.number, "mover@1", 10.0)
    after = with_paused_at_target(store.load(), zombie)
    for to in (MoveState.COMMITTED, None):
        with pytest.raises(MoveTakenOver):
            moves.publish(zombie, to, after, expected=Epoch(1), reason="late")
    assert store.epoch() == 1
