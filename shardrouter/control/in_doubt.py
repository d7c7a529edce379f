"""Finish the transactions over shards that a crash, a cut or a dead shard left behind.

Many processes may run this at once, also against the process that still runs a transaction: the
journal's first decision stands, settling a branch twice is harmless, and nothing is rolled back
before "abort" is written. Prepared transactions whose gid is not exactly ours are never touched.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from shardrouter.catalog import TransactionJournal
from shardrouter.errors import ShardRouterError, UnknownShard
from shardrouter.postgres import (
    BranchOutcome,
    answers_within,
    delete_markers,
    is_marked,
    list_prepared,
    settle_branch,
)
from shardrouter.topology import ShardId
from shardrouter.topology.transaction import Decision, JournalEntry, TransactionState, parse_gid

logger = logging.getLogger(__name__)

ConnectPrimary = Callable[[ShardId], AbstractContextManager[Connection]]
"""Opens a connection to a shard's primary. May raise any ShardRouterError or DBAPIError."""

LEAVE_ALONE_SECONDS: Final = 1.0  # a living process settles its own branches sooner
SHARD_ANSWERS_SECONDS: Final = 30.0  # for all that one pass asks of a shard
RESOLVER: Final = "resolver"

_SETTLED: Final = frozenset({BranchOutcome.DONE, BranchOutcome.ALREADY})
_WRONG: Final = frozenset({BranchOutcome.LOST, BranchOutcome.CONFLICT})


@dataclass(frozen=True, slots=True)
class Resolution:
    """What became of one transaction in a pass."""

    transaction: UUID
    state: TransactionState
    branches: Mapping[ShardId, str]
    """Outcome of each branch that was looked at, or why it could not be."""

    gids: Mapping[ShardId, str] = field(default_factory=dict)
    detail: str | None = None


def resolve_once(
    journal: TransactionJournal,
    connect_primary: ConnectPrimary,
    presume_abort_after_seconds: float,
    sweep: Iterable[ShardId] = (),
) -> list[Resolution]:
    """Carry out what is decided; decide for what stayed undecided too long, mostly "abort".

    sweep: shards to search for prepared transactions of ours that the journal thinks finished or
    does not know. Ages are the catalog's, so no clock of ours matters.
    Raises CatalogUnavailable; a shard that does not answer only leaves its branches for later.
    """
    open_entries = {entry.id: entry for entry in journal.unfinished()}
    due = decide_due(journal, connect_primary, open_entries.values(), presume_abort_after_seconds)
    strays = _strays(journal, connect_primary, sweep, open_entries, presume_abort_after_seconds)
    for entry in strays.known:
        due.setdefault(entry.id, entry)
    return carry_out(journal, connect_primary, list(due.values())) + strays.unknown


def carry_out(
    journal: TransactionJournal, connect_primary: ConnectPrimary, entries: Sequence[JournalEntry]
) -> list[Resolution]:
    """Settle every branch of transactions that are decided, and note what it came to."""
    outcomes = _settle_all(connect_primary, entries)
    return [_conclude(journal, entry, outcomes[entry.id]) for entry in entries]


def clean_once(
    journal: TransactionJournal, connect_primary: ConnectPrimary, keep_seconds: float
) -> int:
    """Forget transactions that were finished so long ago; return how many.

    Their markers go first: a marker without a journal entry would never be deleted, and an entry
    without its markers is only forgotten in the next pass.
    """
    old = journal.finished_before(keep_seconds)
    by_shard: dict[ShardId, list[str]] = defaultdict(list)
    for entry in old:
        for shard, gid in entry.branches.items():
            by_shard[shard].append(gid)
    unreached: set[ShardId] = set()
    for shard, gids in by_shard.items():
        try:
            with asking(connect_primary, shard) as connection:
                delete_markers(connection, gids)
        except UnknownShard:
            continue  # it left the fleet, and its markers with it
        except (ShardRouterError, DBAPIError) as error:
            unreached.add(shard)
            logger.info("markers_kept shard=%s reason=%s", shard, first_line(error))
    done = [entry.id for entry in old if unreached.isdisjoint(entry.branches)]
    if done:
        journal.forget(done)
    return len(done)


def is_due(entry: JournalEntry, presume_abort_after_seconds: float) -> bool:
    """True when the process that runs the transaction had its time."""
    if entry.decision is None:
        return entry.age_seconds >= presume_abort_after_seconds
    alone = min(LEAVE_ALONE_SECONDS, presume_abort_after_seconds)
    return (entry.decided_age_seconds or 0.0) >= alone


def verdict(
    decision: Decision, outcomes: Mapping[ShardId, BranchOutcome | str]
) -> TransactionState:
    """Return where a decided transaction stands after its branches were looked at.

    A branch that could not be reached has its reason, a plain text, for an outcome.
    """
    if _WRONG.intersection(outcomes.values()):
        return TransactionState.DAMAGED
    is_commit = decision is Decision.COMMIT
    if _SETTLED.issuperset(outcomes.values()):
        return TransactionState.COMMITTED if is_commit else TransactionState.ABORTED
    return TransactionState.COMMITTING if is_commit else TransactionState.ABORTING


def describe_damage(decision: Decision, outcomes: Mapping[ShardId, BranchOutcome | str]) -> str:
    """Return one line about the branches that went wrong."""
    lost = ", ".join(s for s, outcome in outcomes.items() if outcome == BranchOutcome.LOST)
    extra = ", ".join(s for s, outcome in outcomes.items() if outcome == BranchOutcome.CONFLICT)
    parts = []
    if lost:
        parts.append(f"neither prepared nor committed on {lost}")
    if extra:
        parts.append(f"committed by somebody else on {extra}")
    return f"decided to {decision}, but {' and '.join(parts)}"


@dataclass(frozen=True, slots=True)
class _Strays:
    known: Sequence[JournalEntry]
    unknown: list[Resolution]


def decide_due(
    journal: TransactionJournal,
    connect_primary: ConnectPrimary,
    entries: Iterable[JournalEntry],
    presume_abort_after: float,
) -> dict[UUID, JournalEntry]:
    """Return the entries that are due, each with a decision that stands in the journal."""
    due = [entry for entry in entries if is_due(entry, presume_abort_after)]
    undecided = [entry for entry in due if entry.decision is None]
    committed = _committed_somewhere(connect_primary, undecided)
    for entry in undecided:
        # A branch that is committed proves a decision which the catalog has lost since, as a
        # failover to a replica that was behind can do.
        decision = Decision.COMMIT if entry.id in committed else Decision.ABORT
        journal.decide(entry.id, decision, RESOLVER)
    decided = {entry.id: entry for entry in due if entry.decision is not None}
    return decided | journal.find(entry.id for entry in undecided)


def _committed_somewhere(
    connect_primary: ConnectPrimary, entries: Sequence[JournalEntry]
) -> set[UUID]:
    """Return the transactions of which a shard that can be reached has committed its branch."""
    found: set[UUID] = set()
    for shard, tasks in _by_shard(entries).items():
        try:
            with asking(connect_primary, shard) as connection:
                found.update(e.id for e in tasks if is_marked(connection, e.branches[shard]))
        except (ShardRouterError, DBAPIError) as error:
            logger.info("markers_not_read shard=%s reason=%s", shard, first_line(error))
    return found


def _by_shard(entries: Iterable[JournalEntry]) -> dict[ShardId, list[JournalEntry]]:
    tasks: dict[ShardId, list[JournalEntry]] = defaultdict(list)
    for entry in entries:
        for shard in entry.branches:
            tasks[shard].append(entry)
    return tasks


def _strays(
    journal: TransactionJournal,
    connect_primary: ConnectPrimary,
    sweep: Iterable[ShardId],
    open_entries: Mapping[UUID, JournalEntry],
    presume_abort_after: float,
) -> _Strays:
    """Search shards for branches whose transaction is finished, or not in the journal at all."""
    seen: dict[UUID, dict[ShardId, str]] = defaultdict(dict)
    fleet = journal.fleet()
    for shard in sweep:
        for gid in _prepared_on(connect_primary, shard, fleet):
            parsed = parse_gid(gid)
            if parsed is not None and parsed.transaction not in open_entries:
                seen[parsed.transaction][shard] = gid
    entries = journal.find(seen)
    known = [
        entry
        for entry in entries.values()
        if entry.is_finished or (entry.decision is not None and is_due(entry, presume_abort_after))
    ]
    unknown = [
        Resolution(
            transaction,
            TransactionState.UNKNOWN,
            dict.fromkeys(gids, "prepared"),
            gids,
            "the journal does not know it: restored from a backup, or emptied",
        )
        for transaction, gids in seen.items()
        if transaction not in entries
    ]
    for resolution in unknown:
        logger.error("transaction_unknown transaction=%s gids=%s", *_named(resolution))
    return _Strays(known, unknown)


def _prepared_on(connect_primary: ConnectPrimary, shard: ShardId, fleet: str) -> list[str]:
    try:
        with asking(connect_primary, shard) as connection:
            return list_prepared(connection, fleet)
    except (ShardRouterError, DBAPIError) as error:
        logger.info("sweep_skipped shard=%s reason=%s", shard, first_line(error))
        return []


def _settle_all(
    connect_primary: ConnectPrimary, entries: Sequence[JournalEntry]
) -> dict[UUID, dict[ShardId, BranchOutcome | str]]:
    """Settle every branch of the decided entries, one connection a shard."""
    outcomes: dict[UUID, dict[ShardId, BranchOutcome | str]] = {e.id: {} for e in entries}
    for shard, tasks in _by_shard(entries).items():
        try:
            with asking(connect_primary, shard) as connection:
                for entry in tasks:
                    outcomes[entry.id][shard] = _settle(connection, shard, entry)
        except (ShardRouterError, DBAPIError) as error:
            for entry in tasks:
                outcomes[entry.id].setdefault(shard, first_line(error))
    return outcomes


def _settle(connection: Connection, shard: ShardId, entry: JournalEntry) -> BranchOutcome | str:
    assert entry.decision is not None  # only decided entries come here
    try:
        return settle_branch(connection, entry.branches[shard], entry.decision)
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        return first_line(error)  # not allowed, say: the others may go on


def _conclude(
    journal: TransactionJournal,
    entry: JournalEntry,
    outcomes: Mapping[ShardId, BranchOutcome | str],
) -> Resolution:
    assert entry.decision is not None  # only decided entries come here
    state = verdict(entry.decision, outcomes)
    detail = None
    if state is TransactionState.DAMAGED:
        state, detail = _damaged(journal, entry, entry.decision, outcomes)
    elif not state.is_in_doubt and not entry.is_finished:
        journal.finish(entry.id)
    resolution = Resolution(entry.id, state, dict(outcomes), entry.branches, detail)
    level = logging.ERROR if state is TransactionState.DAMAGED else logging.INFO
    logger.log(level, "transaction_%s transaction=%s gids=%s", state, *_named(resolution))
    return resolution


def _damaged(
    journal: TransactionJournal,
    entry: JournalEntry,
    decision: Decision,
    outcomes: Mapping[ShardId, BranchOutcome | str],
) -> tuple[TransactionState, str | None]:
    """Believe the damage only when nobody finished the transaction and cleaned up meanwhile."""
    now = journal.find([entry.id]).get(entry.id)
    if now is None or now.is_finished:
        is_commit = decision is Decision.COMMIT
        return (TransactionState.COMMITTED if is_commit else TransactionState.ABORTED), None
    damage = describe_damage(decision, outcomes)
    journal.note_damage(entry.id, damage)
    return TransactionState.DAMAGED, damage


@contextmanager
def asking(connect_primary: ConnectPrimary, shard: ShardId) -> Iterator[Connection]:
    with (
        connect_primary(shard) as connection,
        answers_within(connection, SHARD_ANSWERS_SECONDS),
    ):
        yield connection


def _named(resolution: Resolution) -> tuple[UUID, str]:
    return resolution.transaction, ",".join(resolution.gids.values())


def first_line(error: Exception) -> str:
    message = error.message if isinstance(error, ShardRouterError) else str(error)
    return (message.strip().splitlines() or [type(error).__name__])[0]
