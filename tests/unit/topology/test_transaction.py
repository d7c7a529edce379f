"""Global ids and the state of a journal entry."""

from uuid import UUID

import pytest

from shardrouter.topology import ShardId
from shardrouter.topology.transaction import (
    Decision,
    Gid,
    JournalEntry,
    TransactionState,
    gid_prefix,
    parse_gid,
)

FLEET = "0d9f4d3c-5a0c-4f39-9a5e-0d6c1f1f6e11"
ID = UUID("7f1d2c3b-4a59-4687-9c0d-1e2f3a4b5c6d")


def test_a_gid_comes_back_letter_for_letter() -> None:
    gid = Gid(FLEET, ID, ShardId("s0"))
    text = str(gid)
    assert text == f"shardrouter:{FLEET}:{ID}:s0"
    assert parse_gid(text) == gid
    assert text.startswith(gid_prefix(FLEET))


def test_the_longest_gid_fits_postgres() -> None:
    assert len(str(Gid(FLEET, ID, ShardId("s" * 40)))) < 200


@pytest.mark.parametrize(
    "text",
    [
        "",
        "shardrouter",
        f"shardrouter:{FLEET}:{ID}",
        f"shardrouter:{FLEET}:{ID}:s0:x",
        f"shardrouter:{FLEET}:{str(ID).upper()}:s0",
        f"shardrouter:{FLEET}:{ID.hex}:s0",
        f"shardrouter:{FLEET}:not-a-uuid:s0",
        f"shardrouter:{FLEET}:{ID}:S0",
        f"Shardrouter:{FLEET}:{ID}:s0",
        f"1_{FLEET}_{ID}",
    ],
)
def test_what_we_did_not_write_is_not_ours(text: str) -> None:
    assert parse_gid(text) is None


@pytest.mark.parametrize(
    ("decision", "is_finished", "damage", "state"),
    [
        (None, False, None, TransactionState.UNDECIDED),
        (Decision.COMMIT, False, None, TransactionState.COMMITTING),
        (Decision.COMMIT, True, None, TransactionState.COMMITTED),
        (Decision.ABORT, False, None, TransactionState.ABORTING),
        (Decision.ABORT, True, None, TransactionState.ABORTED),
        (Decision.COMMIT, False, "lost on s1", TransactionState.DAMAGED),
        (Decision.COMMIT, True, "lost on s1", TransactionState.COMMITTED),
    ],
)
def test_state(
    decision: Decision | None, is_finished: bool, damage: str | None, state: TransactionState
) -> None:
    entry = JournalEntry(
        ID, {}, "here", 1.0, decision=decision, is_finished=is_finished, damage=damage
    )
    assert entry.state is state
    assert state.is_in_doubt is (
        state not in (TransactionState.COMMITTED, TransactionState.ABORTED)
    )
