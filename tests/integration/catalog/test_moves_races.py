"""Moves in the catalog when two do it at once, and when a COMMIT breaks."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import Engine, text

from shardrouter.catalog import CatalogStore, Move, MoveStore, NewMove, catalog_engine
from shardrouter.errors import (
    CatalogUnavailable,
    CommitInDoubt,
    MoveBusy,
    MoveRefused,
    MoveTakenOver,
    ShardRouterError,
    StaleEpoch,
)
from shardrouter.topology import Epoch, MoveState, ShardId, Slot, Wish
from tests.support.cutting_relay import CuttingRelay
from tests.support.eventually import eventually
from tests.support.topologies import small_topology

ROUNDS = 30
S0, S1 = ShardId("s0"), ShardId("s1")
NEW = NewMove((Slot(0), Slot(2)), S0, S1)
CUTOVER = (
    MoveState.PREPARING,
    MoveState.COPYING,
    MoveState.CATCHING_UP,
    MoveState.VERIFYING,
    MoveState.READY,
    MoveState.PAUSING,
    MoveState.FENCING,
    MoveState.DRAINING,
)


@pytest.fixture
def moves(store: CatalogStore) -> MoveStore:
    store.publish(small_topology(), expected=Epoch(0), actor="tests", reason="r")
    return store.moves()


def draining(moves: MoveStore) -> Move:
    move = moves.claim(moves.create(NEW, actor="ann", reason="r").number, "mover@1", 60.0)
    for state in CUTOVER:
        move = moves.advance(move, state, reason="r")
    return move


def both(*calls: Callable[[], Any]) -> list[Any]:
    """Run the calls at once; return what each returned or raised."""
    together = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        together.wait(10)
        try:
            return call()
        except ShardRouterError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(30) for future in [pool.submit(run, call) for call in calls]]


def while_locked(engine: Engine, number: int, *calls: Callable[[], Any]) -> list[Future[Any]]:
    """Have the calls wait for the row in this order, then let them go."""
    with ThreadPoolExecutor(len(calls)) as pool:
        with engine.connect() as connection:
            lock = text("SELECT FROM shardrouter.moves WHERE number = :number FOR UPDATE")
            connection.execute(lock, {"number": number})
            futures = []
            for count, call in enumerate(calls, 1):
                futures.append(pool.submit(call))
                waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
                eventually(lambda: connection.scalar(waiting) == count)  # noqa: B023 - at once
            connection.rollback()
    return futures


def test_of_two_claimers_one_wins(moves: MoveStore) -> None:
    for _ in range(ROUNDS):
        number = moves.create(NEW, actor="ann", reason="r").number
        outcomes = both(
            lambda: moves.claim(number, "mover@1", 60.0),  # noqa: B023 - called at once
            lambda: moves.claim(number, "mover@2", 60.0),  # noqa: B023
        )
        (winner,) = (outcome for outcome in outcomes if isinstance(outcome, Move))
        (loser,) = (outcome for outcome in outcomes if isinstance(outcome, MoveBusy))
        assert str(winner.owner) in str(loser)
        assert winner.token == 1
        moves.advance(winner, MoveState.ABORTED, reason="r")


def test_of_two_moves_of_a_slot_one_is_made(moves: MoveStore) -> None:
    for _ in range(ROUNDS):
        outcomes = both(
            lambda: moves.create(NEW, actor="ann", reason="r"),
            lambda: moves.create(NewMove((Slot(2),), S0, S1), actor="bob", reason="r"),
        )
        (made,) = (outcome for outcome in outcomes if isinstance(outcome, Move))
        (refused,) = (outcome for outcome in outcomes if isinstance(outcome, MoveRefused))
        assert f"is in move {made.number} already" in str(refused)
        moves.advance(moves.claim(made.number, "m", 60.0), MoveState.ABORTED, reason="r")


def test_a_zombie_that_waits_behind_its_successor_does_nothing(
    moves: MoveStore, empty_engine: Engine, store: CatalogStore
) -> None:
    zombie = draining(moves)
    committed = store.load().next()
    heir, step, cutover = while_locked(
        empty_engine,
        zombie.number,
        lambda: moves.claim(zombie.number, "mover@1", 60.0),
        lambda: moves.advance(zombie, MoveState.RETREATING, reason="late"),
        lambda: moves.publish(
            zombie, MoveState.COMMITTED, committed, expected=Epoch(1), reason="late"
        ),
    )
    assert heir.result().token == zombie.token + 1
    for late in (step, cutover):
        with pytest.raises(MoveTakenOver):
            late.result()
    assert store.epoch() == 1
    assert moves.find(zombie.number).state is MoveState.DRAINING


@pytest.mark.parametrize("first", ["wish", "commit"])
def test_an_abort_and_the_commit_at_once(
    moves: MoveStore, store: CatalogStore, empty_engine: Engine, first: str
) -> None:
    """Whoever is first at the row: the commit stands, and the operator learns of it."""
    move = draining(moves)
    after = store.load().next()
    calls: dict[str, Callable[[], Any]] = {
        "wish": lambda: moves.wish(move.number, Wish.ABORT, actor="eve", reason="stop"),
        "commit": lambda: moves.publish(
            move, MoveState.COMMITTED, after, expected=Epoch(1), reason="r"
        ),
    }
    order = [first, *(name for name in calls if name != first)]
    futures = dict(
        zip(
            order,
            while_locked(empty_engine, move.number, *(calls[name] for name in order)),
            strict=True,
        )
    )
    assert futures["commit"].result().state is MoveState.COMMITTED
    now = moves.find(move.number)
    assert (now.state, now.wish) == (MoveState.COMMITTED, None)
    kinds = [event.kind for event in store.events()]
    if first == "wish":
        assert futures["wish"].result().wish is Wish.ABORT
        step = next(event for event in store.events() if event.kind == "move_committed")
        assert step.detail["wish_dropped"] == "abort"
    else:
        with pytest.raises(MoveRefused, match="is committed"):
            futures["wish"].result()
        assert "move_wish" not in kinds


def test_publications_of_a_move_and_of_others_at_once(
    moves: MoveStore, store: CatalogStore
) -> None:
    """Both base theirs on the same epoch, again and again: one is stale, and nothing is lost."""
    move = draining(moves)
    commits = 0
    for _ in range(ROUNDS):
        now = store.load()
        mine, other = both(
            lambda: moves.publish(
                move,  # noqa: B023 - called at once
                None,
                now.next(),  # noqa: B023
                expected=now.epoch,  # noqa: B023
                reason="mine",
                cutovers=commits + 1,  # noqa: B023
            ),
            lambda: store.publish(now.next(), expected=now.epoch, actor="bob", reason="b"),  # noqa: B023
        )
        assert isinstance(mine, StaleEpoch) != isinstance(other, StaleEpoch)
        assert store.epoch() == now.epoch + 1
        if isinstance(mine, Move):
            move, commits = mine, commits + 1
            assert move.epoch == now.epoch + 1
        assert moves.find(move.number).cutovers == commits


# A COMMIT that breaks

BREAKS = pytest.mark.parametrize(
    ("delivered", "stays_down"),
    [(True, False), (False, False), (True, True)],
    ids=["done", "not done", "unknown"],
)


@pytest.fixture
def cut(empty_catalog: str) -> Iterator[Callable[..., tuple[CatalogStore, CuttingRelay]]]:
    """Make a store whose connection is cut at its COMMIT."""
    made: list[tuple[Engine, CuttingRelay]] = []

    def make(*, delivered: bool, stays_down: bool) -> tuple[CatalogStore, CuttingRelay]:
        port = int(conninfo_to_dict(empty_catalog)["port"])  # type: ignore[arg-type]
        relay = CuttingRelay(port, b"COMMIT", delivered=delivered, stays_down=stays_down)
        engine = catalog_engine(make_conninfo(empty_catalog, port=relay.port))
        made.append((engine, relay))
        return CatalogStore(engine), relay

    yield make
    for engine, relay in made:
        engine.dispose()
        relay.close()


def fails(kind: type[Exception], delivered: bool, stays_down: bool) -> Any:
    if delivered and not stays_down:
        return nullcontext()
    return pytest.raises(kind if stays_down else CatalogUnavailable)


@BREAKS
def test_a_publication_that_breaks_at_commit(
    moves: MoveStore,
    store: CatalogStore,
    cut: Callable[..., tuple[CatalogStore, CuttingRelay]],
    delivered: bool,
    stays_down: bool,
) -> None:
    move = draining(moves)
    cut_store, relay = cut(delivered=delivered, stays_down=stays_down)
    with fails(CommitInDoubt, delivered, stays_down):
        done = cut_store.moves().publish(
            move, MoveState.COMMITTED, store.load().next(), expected=Epoch(1), reason="r"
        )
        assert done == moves.find(move.number)
    assert relay.has_cut
    state = MoveState.COMMITTED if delivered else MoveState.DRAINING
    assert moves.find(move.number).state is state
    assert store.epoch() == (2 if delivered else 1)


@BREAKS
def test_steps_claims_and_wishes_that_break_at_commit(
    moves: MoveStore,
    cut: Callable[..., tuple[CatalogStore, CuttingRelay]],
    delivered: bool,
    stays_down: bool,
) -> None:
    number = moves.create(NEW, actor="ann", reason="r").number
    move = moves.claim(number, "mover@1", 60.0)
    calls: dict[str, Callable[[MoveStore], Move]] = {
        "wish": lambda store: store.wish(number, Wish.HOLD, actor="eve", reason="r"),
        "amend": lambda store: store.amend(move, attempt=2),
        "advance": lambda store: store.advance(move, MoveState.PREPARING, reason="r"),
        "claim": lambda store: store.claim(number, "mover@1", 60.0),
    }
    for call in calls.values():
        cut_store, relay = cut(delivered=delivered, stays_down=stays_down)
        before = moves.find(number)
        with fails(CatalogUnavailable, delivered, stays_down):
            assert call(cut_store.moves()) == moves.find(number)
        assert relay.has_cut
        assert (moves.find(number) != before) is delivered
