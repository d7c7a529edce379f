"""Commit one transaction over several shards: prepare everywhere, decide once, commit everywhere.

The decision is a row in the catalog's journal, written before any shard commits. Whatever dies in
between, the journal and the prepared branches are enough for control.in_doubt to finish it:
docs/flows/transaction.md names every step and what a crash there leaves.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final
from uuid import UUID, uuid4

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from shardrouter.catalog import TransactionJournal
from shardrouter.client.transactions.branch import (
    FAILURES,
    Branch,
    Shards,
    aborted,
    do_or_abort,
    first_line,
    rollback_all,
)
from shardrouter.errors import (
    CatalogUnavailable,
    CommitInDoubt,
    SettingsError,
    TransactionAborted,
)
from shardrouter.postgres import (
    BranchOutcome,
    BranchStatus,
    branch_status,
    install_markers,
    prepare_branch,
    settle_branch,
)
from shardrouter.topology import ShardId
from shardrouter.topology.transaction import Decision, Gid

logger = logging.getLogger(__name__)

DECIDE_WITHIN_SECONDS: Final = 5.0  # how long an unreachable catalog is asked again
ASK_AGAIN_SECONDS: Final = 0.1
BUSY_PAUSES_SECONDS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # a resolver is at it


@dataclass(frozen=True, slots=True)
class Committed:
    """A transaction that is committed, for good."""

    id: UUID | None = None
    """None when no journal entry was needed: at most one shard had written."""

    pending: Mapping[ShardId, str] = field(default_factory=dict)
    """Shards that did not answer, and the gid there: it is committed when they are reached."""


def no_step(name: str) -> None:
    """Go on: what tests replace to stop, or die, at a step."""


class TwoPhaseCommit:
    """Commits branches atomically. One object serves all transactions of a router."""

    def __init__(
        self,
        shards: Shards,
        journal: TransactionJournal,
        origin: str,
        *,
        decide_within_seconds: float = DECIDE_WITHIN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        new_id: Callable[[], UUID] = uuid4,
        step: Callable[[str], None] = no_step,
    ) -> None:
        self._shards = shards
        self._runtime = shards.runtime
        self._journal = journal
        self._origin = origin
        self._decide_within_seconds = decide_within_seconds
        self._clock = clock
        self._new_id = new_id
        self._step = step

    def commit(
        self,
        branches: Sequence[Branch],
        writers: Sequence[Branch],
        statuses: Mapping[ShardId, BranchStatus],
    ) -> Committed:
        """Commit the writers among the branches, at least two, in the order given.

        Until something is prepared all branches are rolled back on an error, then the writers.
        Raises as ``Committer.commit``.
        """
        self._check_ready(branches, writers, statuses)
        transaction = self._new_id()
        try:
            return self._run(transaction, branches, writers)
        except Exception:
            raise
        except BaseException as error:
            error.add_note(
                f"transaction {transaction} was interrupted while it committed: the resolver "
                "finishes it, `shardrouter txn list` shows how"
            )
            raise

    def _check_ready(
        self,
        branches: Sequence[Branch],
        writers: Sequence[Branch],
        statuses: Mapping[ShardId, BranchStatus],
    ) -> None:
        """Refuse before anything is prepared; make the marker table where it is missing."""
        for branch in writers:
            if statuses[branch.shard.id].max_prepared == 0:
                rollback_all(branches)
                raise SettingsError(
                    "a transaction over several shards needs prepared transactions, and "
                    "max_prepared_transactions is 0",
                    shard=branch.shard.id,
                    hint="set max_prepared_transactions (as high as max_connections) on every "
                    "node of the shard and restart them; nothing was written",
                )
        for branch in writers:
            if not statuses[branch.shard.id].has_markers:
                do_or_abort(branches, partial(self._install, branch.shard.id))

    def _install(self, shard: ShardId) -> None:
        with self._shards.shard_connection(shard, None) as connection:
            install_markers(connection)

    def _run(
        self, transaction: UUID, branches: Sequence[Branch], writers: Sequence[Branch]
    ) -> Committed:
        gids = self._begin(transaction, branches, writers)
        for branch in writers:
            try:
                prepare_branch(branch.connection, gids[branch.shard.id])
            except FAILURES as error:
                return self._abort(transaction, gids, writers, branch, error)
            self._step(f"prepared {branch.shard.id}")
        self._step("all prepared")
        standing = self._decide(transaction, Decision.COMMIT)
        self._step("decided")
        if standing is Decision.COMMIT:
            return self._finish_commit(transaction, gids, writers)
        self._settle_all(gids, writers, Decision.ABORT)
        raise TransactionAborted(
            f"transaction {transaction} took too long to prepare and was presumed dead",
            hint="nothing was written on any shard: run the whole transaction again",
        )

    def _begin(
        self, transaction: UUID, branches: Sequence[Branch], writers: Sequence[Branch]
    ) -> dict[ShardId, str]:
        def begin() -> dict[ShardId, str]:
            fleet = self._journal.fleet()
            gids = {b.shard.id: str(Gid(fleet, transaction, b.shard.id)) for b in writers}
            self._journal.begin(transaction, gids, self._origin)
            return gids

        gids = do_or_abort(branches, lambda: self._runtime.run_blocking(begin))
        self._step("begun")
        return gids

    def _decide(self, transaction: UUID, decision: Decision) -> Decision | None:
        """Write the decision, asking again within bounded time; return the one that stands."""
        deadline = self._clock() + self._decide_within_seconds
        while True:
            try:
                return self._runtime.run_blocking(
                    lambda: self._journal.decide(transaction, decision, self._origin)
                )
            except CatalogUnavailable as error:
                if self._clock() >= deadline:
                    raise CommitInDoubt(
                        f"the catalog went away while transaction {transaction} was decided",
                        hint=f"when the catalog is back, `shardrouter txn resolve {transaction}` "
                        "tells and finishes the outcome; do not repeat the transaction before",
                    ) from error
                self._runtime.sleep(ASK_AGAIN_SECONDS)

    def _finish_commit(
        self, transaction: UUID, gids: dict[ShardId, str], writers: Sequence[Branch]
    ) -> Committed:
        """Commit every branch. What fails here does not change that it is committed."""
        outcomes = self._settle_all(gids, writers, Decision.COMMIT)
        lost = [shard for shard, outcome in outcomes.items() if outcome is BranchOutcome.LOST]
        if lost:
            self._report_lost(transaction, gids, lost)
        pending = {
            shard: gids[shard]
            for shard, outcome in outcomes.items()
            if not _is_settled(outcome) and shard not in lost
        }
        if pending:
            logger.warning(
                "commit_pending transaction=%s shards=%s reason=%s",
                transaction,
                ",".join(pending),
                "; ".join(str(outcomes[shard]) for shard in pending),
            )
        else:
            self._close_entry(transaction)
        self._step("finished")
        return Committed(transaction, pending)

    def _settle_all(
        self, gids: dict[ShardId, str], branches: Sequence[Branch], decision: Decision
    ) -> dict[ShardId, BranchOutcome | str]:
        """Settle the branches side by side; return each one's outcome, or why it has none."""
        answers = self._shards.fan_out(
            [partial(self._settle, b, gids[b.shard.id], decision) for b in branches]
        )
        return {
            branch.shard.id: first_line(answer) if isinstance(answer, Exception) else answer
            for branch, answer in zip(branches, answers, strict=True)
        }

    def _settle(self, branch: Branch, gid: str, decision: Decision) -> BranchOutcome:
        """Settle on the branch's own connection; when that is broken, once more on another."""
        try:
            if not branch.connection.invalidated:
                outcome = self._settle_on(branch.connection, gid, decision)
                self._step(f"settled {branch.shard.id}")
                branch.give_back()  # learns where the commit landed
                return outcome
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            logger.info("branch_connection_lost shard=%s gid=%s", branch.shard.id, gid)
        with self._shards.shard_connection(branch.shard.id, None) as connection:
            outcome = self._settle_on(connection, gid, decision)
            branch_status(connection)  # a transaction of its own: its end tells where we are
            return outcome

    def _settle_on(self, connection: Connection, gid: str, decision: Decision) -> BranchOutcome:
        for pause in BUSY_PAUSES_SECONDS:
            outcome = settle_branch(connection, gid, decision)
            if outcome is not BranchOutcome.BUSY:
                return outcome
            self._runtime.sleep(pause)
        return outcome

    def _report_lost(
        self, transaction: UUID, gids: dict[ShardId, str], lost: Sequence[ShardId]
    ) -> None:
        """Raise CommitInDoubt, unless a resolver finished and cleaned up behind our back."""
        try:
            entry = self._runtime.run_blocking(
                lambda: self._journal.find([transaction]).get(transaction)
            )
            if entry is None or entry.is_finished:
                return
            damage = f"decided to commit, but neither prepared nor committed on {', '.join(lost)}"
            self._runtime.run_blocking(lambda: self._journal.note_damage(transaction, damage))
        except CatalogUnavailable as error:
            logger.warning("damage_not_noted transaction=%s error=%s", transaction, error.message)
        raise CommitInDoubt(
            f"transaction {transaction} is committed, but its part on {', '.join(lost)} is gone: "
            f"{', '.join(gids[shard] for shard in lost)} is neither prepared nor committed there",
            shard=lost[0],
            hint="did the shard fail over to a replica that had not received it, or did somebody "
            "roll it back by hand? Compare the rows on the shards, mend them, then "
            f"`shardrouter txn resolve {transaction} --repaired`",
        )

    def _abort(
        self,
        transaction: UUID,
        gids: dict[ShardId, str],
        writers: Sequence[Branch],
        failed: Branch,
        error: Exception,
    ) -> Committed:
        """Roll back everywhere after a PREPARE failed. Raises, but for an operator's commit."""
        at = list(writers).index(failed)
        prepared = list(writers[:at])
        # Race: a PREPARE whose connection broke may still take effect.
        is_uncertain = failed.connection.invalidated
        rollback_all(writers[at:])
        try:
            standing = self._decide(transaction, Decision.ABORT)
        except CommitInDoubt:
            if is_uncertain:
                raise
            standing = None  # one branch surely is not prepared, so nobody can decide to commit
        if standing is Decision.COMMIT:
            return self._finish_commit(transaction, gids, writers)
        outcomes = self._settle_all(gids, prepared, Decision.ABORT)
        if standing is not None and not is_uncertain and all(map(_is_settled, outcomes.values())):
            self._close_entry(transaction)
        if isinstance(error, DBAPIError) and not error.connection_invalidated:
            error.add_note(f"transaction {transaction} was rolled back on every shard")
            raise error
        raise aborted(failed.shard, error) from error

    def _close_entry(self, transaction: UUID) -> None:
        try:
            self._runtime.run_blocking(lambda: self._journal.finish(transaction))
        except CatalogUnavailable as error:
            logger.info("finish_left_to_resolver transaction=%s error=%s", transaction, error)


def _is_settled(outcome: BranchOutcome | str) -> bool:
    return outcome in (BranchOutcome.DONE, BranchOutcome.ALREADY)
