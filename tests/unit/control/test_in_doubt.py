"""What the resolver thinks, without any server."""

from uuid import UUID

import pytest

from shardrouter.control.in_doubt import describe_damage, is_due, verdict
from shardrouter.postgres import BranchOutcome
from shardrouter.topology import ShardId
from shardrouter.topology.transaction import Decision, JournalEntry, TransactionState

DONE, ALREADY, BUSY, LOST, CONFLICT = (
    BranchOutcome.DONE,
    BranchOutcome.ALREADY,
    BranchOutcome.BUSY,
    BranchOutcome.LOST,
    BranchOutcome.CONFLICT,
)


@pytest.mark.parametrize(
    ("decision", "outcomes", "state"),
    [
        (Decision.COMMIT, [DONE, DONE], TransactionState.COMMITTED),
        (Decision.COMMIT, [ALREADY, DONE], TransactionState.COMMITTED),
        (Decision.COMMIT, [DONE, BUSY], TransactionState.COMMITTING),
        (Decision.COMMIT, [DONE, "no connection"], TransactionState.COMMITTING),
        (Decision.COMMIT, [DONE, LOST], TransactionState.DAMAGED),
        (Decision.COMMIT, ["no connection", LOST], TransactionState.DAMAGED),
        (Decision.ABORT, [DONE, ALREADY], TransactionState.ABORTED),
        (Decision.ABORT, [DONE, BUSY], TransactionState.ABORTING),
        (Decision.ABORT, ["no connection"], TransactionState.ABORTING),
        (Decision.ABORT, [DONE, CONFLICT], TransactionState.DAMAGED),
    ],
)
def test_verdict(
    decision: Decision, outcomes: list[BranchOutcome | str], state: TransactionState
) -> None:
    by_shard = {ShardId(f"s{i}"): outcome for i, outcome in enumerate(outcomes)}
    assert verdict(decision, by_shard) is state


def test_damage_names_the_shards() -> None:
    outcomes = {ShardId("s0"): DONE, ShardId("s1"): LOST, ShardId("s2"): CONFLICT}
    said = describe_damage(Decision.COMMIT, outcomes)
    assert "neither prepared nor committed on s1" in said
    assert "somebody else on s2" in said


def entry(
    age: float, decision: Decision | None = None, decided: float | None = None
) -> JournalEntry:
    return JournalEntry(
        UUID(int=1), {}, "here", age, decision=decision, decided_age_seconds=decided
    )


def test_a_living_process_gets_its_time() -> None:
    assert not is_due(entry(9.9), 10)
    assert is_due(entry(10.0), 10)
    assert not is_due(entry(60, Decision.COMMIT, 0.5), 10)
    assert is_due(entry(2, Decision.COMMIT, 1.5), 10)
