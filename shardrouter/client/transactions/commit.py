"""Commit a transaction with as little ceremony as its branches allow.

A branch that wrote nothing just ends. One that wrote commits plainly. Several go through
client.two_phase.
"""

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from shardrouter.client.transactions.branch import (
    FAILURES,
    Branch,
    Shards,
    aborted,
    do_or_abort,
    first_line,
    rollback_all,
)
from shardrouter.client.transactions.two_phase import Committed, TwoPhaseCommit
from shardrouter.errors import CommitInDoubt
from shardrouter.postgres import BranchStatus, branch_status, xact_status
from shardrouter.topology import ShardId

logger = logging.getLogger(__name__)

LEARN_WITHIN_SECONDS: Final = 5.0  # how long to ask what became of a plain COMMIT that broke
ASK_AGAIN_SECONDS: Final = 0.1


class Committer:
    """Commits branches, all or none. One object serves all transactions of a router."""

    def __init__(
        self,
        shards: Shards,
        two_phase: TwoPhaseCommit,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shards = shards
        self._two_phase = two_phase
        self._clock = clock

    def commit(self, branches: Sequence[Branch]) -> Committed:
        """Commit all branches or none; afterwards no branch has a transaction open.

        Raises TransactionAborted, or the database's own error, when nothing was written;
        CommitInDoubt when the outcome cannot be known now; SettingsError when a shard cannot
        prepare transactions; CatalogUnavailable before anything was prepared.
        """
        if len(branches) == 1:
            self._commit_plainly(branches[0], None)
            return Committed()
        ordered = sorted(branches, key=lambda branch: branch.shard.id)
        statuses = self._statuses(ordered)
        writers = [b for b in ordered if statuses[b.shard.id].xid is not None]
        readers = [b for b in ordered if statuses[b.shard.id].xid is None]
        for branch in readers:
            if statuses[branch.shard.id].isolation == "serializable":
                # Its COMMIT may fail, which must still abort the others.
                do_or_abort(ordered, partial(_commit_reader, branch))
        result = Committed()
        if len(writers) > 1:
            result = self._two_phase.commit(ordered, writers, statuses)
        elif writers:
            self._commit_plainly(writers[0], statuses[writers[0].shard.id])
        for branch in readers:
            _end(branch)
        return result

    def _statuses(self, branches: Sequence[Branch]) -> dict[ShardId, BranchStatus]:
        answers = self._shards.fan_out([_asking(branch) for branch in branches])
        statuses: dict[ShardId, BranchStatus] = {}
        for branch, answer in zip(branches, answers, strict=True):
            if isinstance(answer, Exception):
                rollback_all(branches)
                raise aborted(branch.shard, answer) from answer
            statuses[branch.shard.id] = answer
        return statuses

    def _commit_plainly(self, branch: Branch, status: BranchStatus | None) -> None:
        """Commit the only writer. When the connection breaks, ask what became of it."""
        try:
            branch.connection.commit()
        except CommitInDoubt as error:
            branch.connection.invalidate()
            outcome = None if status is None else self._became_of(branch, status)
            if outcome == "aborted":
                raise aborted(branch.shard, error) from error
            if outcome is None:
                raise CommitInDoubt(
                    error.message, shard=branch.shard.id, hint=error.hint
                ) from error

    def _became_of(self, branch: Branch, status: BranchStatus) -> str | None:
        """Return "committed", "aborted", or None when the shard cannot tell in time."""
        assert status.xid is not None  # a writer has one
        deadline = self._clock() + LEARN_WITHIN_SECONDS
        while self._clock() < deadline:
            try:
                with self._shards.shard_connection(branch.shard.id, None) as connection:
                    # After a failover the same number may be another transaction's.
                    if branch_status(connection).timeline != status.timeline:
                        return None
                    outcome = xact_status(connection, status.xid)
            except FAILURES as error:
                logger.info(
                    "outcome_not_told shard=%s error=%s", branch.shard.id, first_line(error)
                )
                outcome = "in progress"
            if outcome != "in progress":
                return outcome
            self._shards.runtime.sleep(ASK_AGAIN_SECONDS)
        return None


def _asking(branch: Branch) -> Callable[[], BranchStatus]:
    return lambda: branch_status(branch.connection)


def _commit_reader(branch: Branch) -> None:
    try:
        branch.connection.commit()
    except CommitInDoubt as error:  # no doubt: it wrote nothing
        branch.connection.invalidate()
        raise aborted(branch.shard, error) from error


def _end(branch: Branch) -> None:
    """End a transaction that wrote nothing. Committing also delivers a bare NOTIFY."""
    try:
        _commit_reader(branch)
    except FAILURES as error:
        logger.info("read_branch_lost shard=%s error=%s", branch.shard.id, first_line(error))
