"""What goes wrong is put off, repeated, or shown to an operator; writers never wait for ever."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from shardrouter.errors import MoveTakenOver
from shardrouter.rebalance.mover import Stops
from shardrouter.topology import MoveState, Wish
from tests.integration.rebalance.conftest import Prepared
from tests.support.moving_here import Places, run_move, wish

REPLICA = "SET session_replication_role = replica"


@contextmanager
def open_transaction(prepared: Prepared) -> Iterator[psycopg.Connection[Any]]:
    """Write to a row of a moving slot, straight on its shard, and do not commit."""
    with prepared.bed.primary("s0") as connection:
        connection.autocommit = False
        connection.execute(
            "UPDATE ledger_account SET counter = counter WHERE id = %s", [prepared.account()]
        )
        yield connection


def test_a_long_transaction_puts_the_cutover_off(prepared: Prepared):
    number = prepared.create()
    run_move(prepared.bed, number, stops=Stops(at_ready=True))
    with prepared.clients(), open_transaction(prepared) as blocker:
        ends: list[object] = []

        def end() -> None:
            ends.append(prepared.bed.move(number).cutovers)
            blocker.rollback()

        move = run_move(prepared.bed, number, failpoint=Places({"retreating.published": end}))
    assert (move.state, ends) == (MoveState.DONE, [1])
    assert move.cutovers == 2
    prepared.bed.wait_clean()


@pytest.mark.slow
def test_an_operator_is_asked_when_no_cutover_succeeds(prepared: Prepared):
    number = prepared.create()
    run_move(prepared.bed, number, stops=Stops(at_ready=True))
    with open_transaction(prepared):
        move = run_move(prepared.bed, number, rebalance={"cutover_attempts": 2})
        assert (move.state, move.cutovers) == (MoveState.READY, 2)
        assert move.attention is not None and "stayed locked" in move.attention
        assert not prepared.bed.topology.paused_slots
        assert prepared.bed.guard_problems() == []
    wish(prepared.bed, number, Wish.RETRY)
    assert run_move(prepared.bed, number).state is MoveState.DONE


@pytest.mark.slow
def test_a_unit_of_work_that_stays_open_puts_the_cutover_off(prepared: Prepared):
    number = prepared.create()
    run_move(prepared.bed, number, stops=Stops(at_ready=True))
    with prepared.bed.router() as router:
        session = router.session(key=prepared.account())
        opened = session.__enter__()
        opened.execute(text("SELECT 1"))
        places = Places({"retreating.published": lambda: session.__exit__(None, None, None)})
        move = run_move(prepared.bed, number, failpoint=places, rebalance={"drain_seconds": 0.3})
    assert (move.state, move.cutovers) == (MoveState.DONE, 2)


def test_a_row_that_differs_stops_the_move_and_is_shown(prepared: Prepared):
    number = prepared.create()
    account = prepared.account()
    change = "UPDATE ledger_account SET balance = balance + 1 WHERE id = %s"

    def tamper() -> None:
        with prepared.bed.primary("s1") as connection:
            connection.execute(REPLICA)
            connection.execute(change, [account])

    move = run_move(prepared.bed, number, failpoint=Places({"catching_up.caught_up": tamper}))
    assert (move.state, prepared.owners()) == (MoveState.VERIFYING, {"s0"})
    assert move.attention is not None
    assert f"({account})" in move.attention and "1 rows of public.ledger_account" in move.attention
    with prepared.bed.primary("s1") as connection:
        connection.execute(REPLICA)
        connection.execute(change.replace("+ 1", "- 1"), [account])
    wish(prepared.bed, number, Wish.RETRY)
    assert run_move(prepared.bed, number).state is MoveState.DONE
    prepared.bed.wait_clean()


@pytest.mark.slow
def test_a_lost_replication_slot_means_a_new_attempt(prepared: Prepared):
    number = prepared.create()

    def lose() -> None:
        with prepared.bed.primary("s0") as connection:
            query = "SELECT slot_name, active_pid FROM pg_replication_slots WHERE database = %s"
            for name, pid in connection.execute(query, [connection.info.dbname]).fetchall():
                connection.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
                connection.execute("SELECT pg_drop_replication_slot(%s)", [name])

    with prepared.clients():
        move = run_move(prepared.bed, number, failpoint=Places({"verifying.verified": lose}))
    assert (move.state, move.attempt) == (MoveState.DONE, 2)
    prepared.bed.wait_clean()


def test_a_clash_of_keys_on_the_target_is_named(prepared: Prepared):
    """A row of another slot holds a unique value that a moving row has, too."""
    for shard in ("s0", "s1"):
        with prepared.bed.primary(shard) as connection:
            connection.execute("ALTER TABLE ledger_account ADD email text UNIQUE")
    staying = prepared.bed.groups[prepared.bed.slots_of("s1", 1)[0]][0]
    for shard, account in (("s0", prepared.account()), ("s1", staying)):
        with prepared.bed.primary(shard) as connection:
            connection.execute("UPDATE ledger_account SET email = 'a@b.c' WHERE id = %s", [account])
    number = prepared.create()
    move = run_move(prepared.bed, number)
    assert move.state is MoveState.COPYING
    assert move.attention is not None
    assert "has (email) = (a@b.c) on s1 already" in move.attention
    with prepared.bed.primary("s1") as connection:
        connection.execute("UPDATE ledger_account SET email = NULL WHERE id = %s", [staying])
    wish(prepared.bed, number, Wish.ABORT)
    assert run_move(prepared.bed, number).state is MoveState.ABORTED
    prepared.bed.wait_clean()


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("copying.subscribed", marks=pytest.mark.slow),
        pytest.param("fencing.locked", marks=pytest.mark.slow),
        "draining.before_commit",
    ],
)
def test_a_mover_that_was_replaced_does_no_harm(prepared: Prepared, place: str):
    number = prepared.create()
    frozen, awake = threading.Event(), threading.Event()

    def sleep() -> None:
        frozen.set()
        assert awake.wait(60)

    errors: list[BaseException] = []

    def run() -> None:
        try:
            run_move(prepared.bed, number, failpoint=Places({place: sleep}))
        except BaseException as error:
            errors.append(error)

    zombie = threading.Thread(target=run)
    with prepared.clients():
        zombie.start()
        assert frozen.wait(60)
        move = run_move(prepared.bed, number)  # the same owner may claim it again
        awake.set()
        zombie.join(60)
    assert move.state is MoveState.DONE
    [error] = errors
    assert isinstance(error, MoveTakenOver)
    prepared.bed.wait_clean()


def test_a_move_ends_by_itself_before_wal_fills_the_disk(prepared: Prepared):
    number = prepared.create()
    run_move(prepared.bed, number, stops=Stops(at_ready=True))
    with prepared.bed.primary("s1") as connection:
        name = connection.execute("SELECT subname FROM pg_subscription").fetchall()[0][0]
        connection.execute(f'ALTER SUBSCRIPTION "{name}" DISABLE'.encode())
    with prepared.bed.primary("s0") as connection:
        connection.execute("SELECT pg_logical_emit_message(false, 'x', repeat('x', 18000000))")
        connection.execute("SELECT pg_switch_wal()")
    move = run_move(prepared.bed, number, rebalance={"max_retained_wal_mb": 16})
    assert move.state is MoveState.ABORTED
    prepared.bed.wait_clean()
