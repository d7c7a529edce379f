"""What is found while writers wait ends the cutover in good order: they go on where they wrote."""

import json

from sqlalchemy import BigInteger, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shardrouter.client import sharded
from shardrouter.rebalance.mover import Stops
from shardrouter.topology import MoveState, Wish
from tests.integration.rebalance.conftest import Prepared
from tests.support.moving_here import Places, run_move, wish


class Later(DeclarativeBase):
    pass


@sharded(by="id")
class Note(Later):
    __tablename__ = "note_of_later"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)


def note_flux(prepared: Prepared, number: int, account: int) -> None:
    """Make the row one that kept changing while it was compared."""
    flux = json.dumps({"flux": {"public.ledger_account": [[str(account)]]}})
    query = text(
        "UPDATE shardrouter.moves SET facts = facts || CAST(:f AS jsonb) WHERE number = :n"
    )
    with prepared.bed.engine.begin() as connection:
        connection.execute(query, {"f": flux, "n": number})


def test_rows_in_flux_are_compared_when_nothing_writes(prepared: Prepared):
    number = prepared.create()
    run_move(prepared.bed, number, stops=Stops(at_ready=True))
    account = prepared.account()
    note_flux(prepared, number, account)
    with prepared.bed.primary("s1") as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("DELETE FROM ledger_account WHERE id = %s", [account])
    with prepared.clients():
        move = run_move(prepared.bed, number)
    assert (move.state, prepared.owners()) == (MoveState.READY, {"s0"})
    assert move.attention is not None and "no row on s1" in move.attention
    assert not prepared.bed.topology.paused_slots
    assert prepared.bed.guard_problems() == []
    wish(prepared.bed, number, Wish.ABORT)
    assert run_move(prepared.bed, number).state is MoveState.ABORTED
    prepared.bed.wait_clean()


def test_a_table_that_is_registered_meanwhile_moves_too(prepared: Prepared):
    number = prepared.create()

    def register() -> None:
        with prepared.bed.router() as router:
            router.create_all(Later)

    with prepared.clients():
        move = run_move(prepared.bed, number, failpoint=Places({"fencing.fenced": register}))
    assert (move.state, move.attempt) == (MoveState.DONE, 2)
    assert "public.note_of_later" in move.facts["tables"]
    prepared.bed.wait_clean()


def test_others_may_publish_during_the_cutover(prepared: Prepared):
    number = prepared.create()
    published: list[int] = []

    def publish() -> None:
        current = prepared.bed.topology
        new = current.next()
        prepared.bed.catalog.publish(
            new, expected=current.epoch, actor="tests", reason="something else"
        )
        published.append(new.epoch)

    places = dict.fromkeys(
        ("ready.gate", "pausing.drained", "draining.before_commit", "committed.admitted"), publish
    )
    with prepared.clients():
        move = run_move(prepared.bed, number, failpoint=Places(places))
    assert (move.state, move.cutovers) == (MoveState.DONE, 1)
    assert len(published) == 4
    prepared.bed.wait_clean()


def test_ddl_is_refused_while_the_tables_move(prepared: Prepared):
    number = prepared.create()
    run_move(prepared.bed, number, stops=Stops(at_ready=True))
    with prepared.bed.primary("s0") as connection:
        for statement in (
            b"ALTER TABLE ledger_account ADD more text",
            b"TRUNCATE ledger_account CASCADE",
        ):
            try:
                connection.execute(statement)
            except Exception as error:
                assert f"move {number}" in str(error)
            else:
                raise AssertionError(f"{statement!r} was let through")
    assert run_move(prepared.bed, number).state is MoveState.DONE
    with prepared.bed.primary("s0") as connection:
        connection.execute("ALTER TABLE ledger_account ADD more text")
    prepared.bed.wait_clean()
