"""What operators wish of moves: noted, obeyed, refused."""

import pytest

from shardrouter.catalog import CatalogStore, MoveStore
from shardrouter.errors import (
    MoveRefused,
    UnknownMove,
)
from shardrouter.topology import (
    Epoch,
    MoveState,
    Wish,
)
from tests.support.catalog_moves import (
    TO_DRAINING,
    brought_to,
    claimed,
    made,
    with_paused_at_target,
)


def test_a_wish_is_noted_and_cleared_when_it_was_obeyed(
    moves: MoveStore, store: CatalogStore
) -> None:
    move = claimed(moves)
    wished = moves.wish(move.number, Wish.HOLD, actor="bob", reason="lunch")
    assert (wished.wish, wished.held, wished.state) == (Wish.HOLD, False, MoveState.PLANNED)
    event = store.events(limit=1)[0]
    assert (event.kind, event.actor, event.reason) == ("move_wish", "bob", "lunch")
    obeyed = moves.amend(moves.renew(move, 10.0), held=True, wish=None)
    assert (obeyed.held, obeyed.wish, obeyed.wished_by) == (True, None, None)


def test_clearing_a_wish_spares_a_later_one(moves: MoveStore) -> None:
    move = claimed(moves)
    moves.wish(move.number, Wish.HOLD, actor="bob", reason="r")
    seen = moves.renew(move, 10.0)
    moves.wish(move.number, Wish.ABORT, actor="eve", reason="r")
    after = moves.amend(seen, held=True, wish=None)
    assert (after.held, after.wish, after.wished_by) == (True, Wish.ABORT, "eve")


def test_nothing_replaces_a_wish_to_abort(moves: MoveStore) -> None:
    move = made(moves)
    moves.wish(move.number, Wish.ABORT, actor="eve", reason="wrong shard")
    moves.wish(move.number, Wish.ABORT, actor="bob", reason="again")
    with pytest.raises(MoveRefused, match=r"bob has asked to abort .*: again"):
        moves.wish(move.number, Wish.HOLD, actor="ann", reason="r")


def test_a_wish_never_undoes_a_commit(moves: MoveStore, store: CatalogStore) -> None:
    move = brought_to(moves, *TO_DRAINING)
    moves.wish(move.number, Wish.ABORT, actor="eve", reason="stop")
    after = with_paused_at_target(store.load(), move)
    done = moves.publish(move, MoveState.COMMITTED, after, expected=Epoch(1), reason="r")
    assert (done.state, done.wish, done.wished_by) == (MoveState.COMMITTED, None, None)
    step = next(event for event in store.events() if event.kind == "move_committed")
    assert step.detail["wish_dropped"] == "abort"
    with pytest.raises(MoveRefused, match="is committed, going forward: it cannot abort") as caught:
        moves.wish(move.number, Wish.ABORT, actor="eve", reason="stop")
    assert f"shardrouter move reverse {move.number}" in str(caught.value)


def test_wishes_survive_steps_that_can_still_fulfil_them(moves: MoveStore) -> None:
    move = claimed(moves)
    moves.wish(move.number, Wish.ABORT, actor="eve", reason="stop")
    assert moves.advance(move, MoveState.PREPARING, reason="r").wish is Wish.ABORT


@pytest.mark.parametrize("wish", [Wish.REVERSE, Wish.FINISH])
def test_too_early(moves: MoveStore, wish: Wish) -> None:
    with pytest.raises(MoveRefused, match=f"it cannot {wish}"):
        moves.wish(made(moves).number, wish, actor="eve", reason="r")


def test_retry_is_for_moves_that_wait(moves: MoveStore) -> None:
    move = claimed(moves)
    with pytest.raises(MoveRefused, match="does not wait"):
        moves.wish(move.number, Wish.RETRY, actor="eve", reason="r")
    moves.amend(move, attention="disk full")
    assert moves.wish(move.number, Wish.RETRY, actor="eve", reason="r").wish is Wish.RETRY


def test_nothing_is_wished_of_a_move_that_is_over(moves: MoveStore) -> None:
    move = moves.advance(claimed(moves), MoveState.ABORTED, reason="r")
    for wish in Wish:
        with pytest.raises(MoveRefused):
            moves.wish(move.number, wish, actor="eve", reason="r")
    with pytest.raises(UnknownMove):
        moves.wish(99, Wish.HOLD, actor="eve", reason="r")


def test_limits_are_changed_while_the_move_runs(moves: MoveStore, store: CatalogStore) -> None:
    move = claimed(moves)
    moves.limit(move.number, {"copy_jobs": 4, "max_p99_ms": 20.0}, actor="ann", reason="quiet")
    assert moves.renew(move, 10).limits == {"copy_jobs": 4, "max_p99_ms": 20.0}
    moves.limit(move.number, {"max_p99_ms": None, "delete_rows": 100}, actor="ann", reason="loud")
    assert moves.amend(move, facts={}).limits == {"copy_jobs": 4, "delete_rows": 100}
    event = store.events(1)[0]
    assert (event.kind, event.actor, event.detail["move"]) == ("move_limits", "ann", move.number)
    with pytest.raises(UnknownMove):
        moves.limit(99, {}, actor="ann", reason="none")
