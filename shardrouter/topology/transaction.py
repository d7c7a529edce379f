"""Words of transactions over shards: global ids, decisions, journal entries.

Pure. A transaction over several shards is *decided* by one row in the catalog's journal, before
any shard commits. Its branch on each shard is a prepared transaction with an exact global id
(gid) that the journal holds verbatim, so that recovery never has to guess a name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from shardrouter.topology.ids import ShardId, is_valid_name

_PREFIX: Final = "shardrouter"  # with names of 40 characters a gid has 131 bytes of Postgres' 199


class Decision(StrEnum):
    """What a transaction over shards came to. The first one written stands."""

    COMMIT = "commit"
    ABORT = "abort"


class TransactionState(StrEnum):
    """Where a transaction over shards stands."""

    UNDECIDED = "undecided"
    COMMITTING = "committing"
    ABORTING = "aborting"
    COMMITTED = "committed"
    ABORTED = "aborted"
    DAMAGED = "damaged"
    """Decided to commit, but a branch is gone: the data of one shard is missing."""

    UNKNOWN = "unknown"
    """A branch of ours that the journal does not know: it was restored, or emptied."""

    @property
    def is_in_doubt(self) -> bool:
        """True while rows of some shard are locked or missing because of it."""
        return self not in (TransactionState.COMMITTED, TransactionState.ABORTED)


@dataclass(frozen=True, slots=True)
class Gid:
    """The global id of a transaction's branch on one shard, taken apart."""

    fleet: str
    transaction: UUID
    shard: ShardId

    def __str__(self) -> str:
        return f"{gid_prefix(self.fleet)}{self.transaction}:{self.shard}"


def gid_prefix(fleet: str) -> str:
    """Return how every global id of the fleet begins."""
    return f"{_PREFIX}:{fleet}:"


def parse_gid(text: str) -> Gid | None:
    """Return the parts of a global id that shardrouter wrote, None for anybody else's.

    Exact: a text that would not be written back letter for letter is not ours.
    """
    parts = text.split(":")
    if len(parts) != 4 or parts[0] != _PREFIX or not is_valid_name(parts[3]):
        return None
    try:
        gid = Gid(parts[1], UUID(parts[2]), ShardId(parts[3]))
    except ValueError:
        return None
    return gid if str(gid) == text else None


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """What the catalog knows of one transaction. Ages are seconds on the catalog's clock."""

    id: UUID
    branches: Mapping[ShardId, str]
    """The gid on each shard, as it was prepared."""

    origin: str
    """The process that began it."""

    age_seconds: float
    decision: Decision | None = None
    decided_by: str | None = None
    decided_age_seconds: float | None = None
    is_finished: bool = False
    damage: str | None = None

    @property
    def state(self) -> TransactionState:
        if self.damage is not None and not self.is_finished:
            return TransactionState.DAMAGED
        if self.decision is None:
            return TransactionState.UNDECIDED
        if self.decision is Decision.COMMIT:
            return TransactionState.COMMITTED if self.is_finished else TransactionState.COMMITTING
        return TransactionState.ABORTED if self.is_finished else TransactionState.ABORTING
