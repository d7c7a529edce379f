"""A move that cannot be done is refused before anything is changed, with what mends it."""

import pytest

from shardrouter.topology import MoveState, Wish
from tests.integration.rebalance.conftest import Prepared
from tests.support.moving_here import run_move, wish

IDENTITY = "ALTER TABLE ledger_entry REPLICA IDENTITY "
FOREIGN_KEY = """
CREATE TABLE kinds (id bigint PRIMARY KEY);
ALTER TABLE ledger_account ADD kind bigint REFERENCES kinds
"""
TRIGGER = """
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER audit BEFORE INSERT ON ledger_entry FOR EACH ROW EXECUTE FUNCTION note();
ALTER TABLE ledger_entry ENABLE ALWAYS TRIGGER audit
"""


@pytest.mark.parametrize(
    ("shards", "damage", "told"),
    [
        ("s0", f"{IDENTITY} NOTHING", "REPLICA IDENTITY USING INDEX"),
        ("s1", "ALTER TABLE ledger_entry ADD more text", "column more is missing here"),
        ("s1", "DROP TABLE ledger_entry", "there is no table public.ledger_entry"),
        ("s0 s1", "ALTER TABLE ledger_entry ADD pic oid", "large objects do not move"),
        (
            "s0 s1",
            FOREIGN_KEY,
            "neither sharded nor a reference table",
        ),
        (
            "s1",
            TRIGGER,
            "ENABLE TRIGGER audit",
        ),
    ],
)
def test_it_is_refused(prepared: Prepared, shards: str, damage: str, told: str):
    for shard in shards.split():
        with prepared.bed.primary(shard) as connection:
            connection.execute(damage.encode())
    number = prepared.create()
    move = run_move(prepared.bed, number)
    assert move.state is MoveState.PLANNED
    assert move.attention is not None and told in move.attention
    assert prepared.bed.topology.motions == ()
    assert prepared.bed.one("s1", "SELECT to_regclass('shardrouter.move')") is None
    wish(prepared.bed, number, Wish.ABORT)
    assert run_move(prepared.bed, number).state is MoveState.ABORTED


def test_rows_that_no_move_left_are_shown_and_never_deleted(prepared: Prepared):
    with prepared.bed.primary("s1") as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "INSERT INTO ledger_account (id, balance) VALUES (%s, 0)", [prepared.account()]
        )
    number = prepared.create()
    move = run_move(prepared.bed, number)
    assert move.attention is not None
    assert "public.ledger_account holds rows of these slots already" in move.attention
    wish(prepared.bed, number, Wish.ABORT)
    assert run_move(prepared.bed, number).state is MoveState.ABORTED
    query = "SELECT count(*) FROM ledger_account WHERE id = %s"
    assert prepared.bed.one("s1", query, prepared.account()) == 1


def test_what_was_mended_is_examined_again(prepared: Prepared):
    with prepared.bed.primary("s1") as connection:
        connection.execute("ALTER TABLE ledger_entry ADD more text")
    number = prepared.create()
    assert run_move(prepared.bed, number).attention is not None
    assert run_move(prepared.bed, number).state is MoveState.PLANNED  # it waits for the word
    with prepared.bed.primary("s0") as connection:
        connection.execute("ALTER TABLE ledger_entry ADD more text")
    wish(prepared.bed, number, Wish.RETRY)
    assert run_move(prepared.bed, number).state is MoveState.DONE
    prepared.bed.wait_clean()
