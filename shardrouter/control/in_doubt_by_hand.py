"""What an operator can see of transactions over shards, and decide about them.

Nothing here lets an operator make shards disagree: a commit needs every branch, an abort needs
that none is committed, and the journal's first decision stands against both.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from sqlalchemy.exc import DBAPIError

from shardrouter.catalog import TransactionJournal
from shardrouter.control.in_doubt import ConnectPrimary, asking, first_line, is_due
from shardrouter.errors import CommitError, ShardRouterError
from shardrouter.postgres import is_marked, list_prepared
from shardrouter.topology import ShardId
from shardrouter.topology.transaction import (
    Decision,
    Gid,
    JournalEntry,
    TransactionState,
    parse_gid,
)


class Place(StrEnum):
    """Where a branch is."""

    PREPARED = "prepared"
    COMMITTED = "committed"
    ABSENT = "not there"


@dataclass(frozen=True, slots=True)
class Finding:
    """One transaction as the journal and the shards show it."""

    transaction: UUID
    entry: JournalEntry | None
    gids: Mapping[ShardId, str]
    branches: Mapping[ShardId, Place | str]
    """Where each branch is, or why the shard could not be asked."""

    @property
    def state(self) -> TransactionState:
        return TransactionState.UNKNOWN if self.entry is None else self.entry.state


def inspect_transactions(
    journal: TransactionJournal,
    connect_primary: ConnectPrimary,
    shards: Iterable[ShardId],
    only: UUID | None = None,
) -> list[Finding]:
    """Return what is unfinished, and what the shards hold of ours that the journal does not know.

    only: look at this transaction alone, also when it is finished.
    """
    fleet, shards = journal.fleet(), list(shards)
    prepared, unreached = _prepared(fleet, connect_primary, shards)

    def look(shard: ShardId, gid: str) -> Place | str:
        return unreached.get(shard) or _marked(connect_primary, shard, gid)

    if only is None:
        entries = {entry.id: entry for entry in journal.unfinished(with_damaged=True)}
        entries.update(journal.find(id for id in prepared if id not in entries))
        unknown = [id for id in prepared if id not in entries]
    else:
        entries = journal.find([only])
        unknown = [] if entries or only not in prepared else [only]
    found = [_finding(entry, prepared.get(entry.id, {}), look) for entry in entries.values()]
    for id in unknown:
        possible = {shard: str(Gid(fleet, id, shard)) for shard in shards}
        found.append(_unknown(id, prepared[id], possible, look))
    return found


def next_step(finding: Finding, presume_abort_after_seconds: float) -> str:
    """Return what the resolver will do about a transaction, for people."""
    entry = finding.entry
    if entry is None:
        return "nothing: decide with --commit or --abort"
    match entry.state:
        case TransactionState.DAMAGED:
            return "nothing: mend the rows, then --repaired"
        case TransactionState.COMMITTED | TransactionState.ABORTED:
            return "nothing: it is over" if not _prepared_in(finding) else "settle the stray branch"
        case TransactionState.UNDECIDED if is_due(entry, presume_abort_after_seconds):
            if Place.COMMITTED in finding.branches.values():
                return "commit: the catalog has lost a decision that a shard carried out"
            return "abort: its process is presumed dead"
        case TransactionState.UNDECIDED:
            return "wait: its process may be alive"
    return f"{entry.decision} the branches that are still prepared"


def decide_by_hand(
    journal: TransactionJournal, finding: Finding, decision: Decision, by: str
) -> JournalEntry:
    """Decide a transaction that is undecided or unknown, and return its entry.

    Raises CommitError when it is decided otherwise, or when shards would come to disagree.
    """
    _check_choice(finding, decision)
    id = finding.transaction
    if finding.entry is None:
        standing = journal.adopt(id, finding.gids, decision, by)
    else:
        standing = journal.decide(id, decision, by)
    entry = journal.find([id]).get(id)
    if standing is not decision or entry is None:
        raise CommitError(
            f"transaction {id} was decided meanwhile: {standing or 'gone'}",
            hint=f"`shardrouter txn resolve {id}` carries that out",
        )
    return entry


def close_repaired(journal: TransactionJournal, finding: Finding) -> None:
    """Close a damaged transaction whose rows the operator has mended. Raises CommitError."""
    if finding.state is not TransactionState.DAMAGED:
        raise CommitError(
            f"transaction {finding.transaction} is {finding.state}, not damaged",
            hint="--repaired only closes damaged transactions",
        )
    journal.finish(finding.transaction)


def _check_choice(finding: Finding, decision: Decision) -> None:
    id, entry = finding.transaction, finding.entry
    if entry is not None and entry.decision is not None:
        raise CommitError(
            f"transaction {id} is decided already: {entry.decision} (by {entry.decided_by})",
            hint=f"`shardrouter txn resolve {id}` carries it out",
        )
    if decision is Decision.COMMIT:
        bad = {s: p for s, p in finding.branches.items() if p in (Place.ABSENT, *_reasons(finding))}
        hint = "only --abort keeps the shards alike, or wait until all of them answer"
    else:
        doubtful = () if entry is not None else tuple(_reasons(finding))
        bad = {s: p for s, p in finding.branches.items() if p in (Place.COMMITTED, *doubtful)}
        hint = "a shard has committed it, or may have: only --commit keeps the shards alike"
    if bad:
        where = "; ".join(f"{shard}: {place}" for shard, place in bad.items())
        raise CommitError(f"transaction {id} cannot {decision} now: {where}", hint=hint)


def _reasons(finding: Finding) -> Iterable[str]:
    return [place for place in finding.branches.values() if not isinstance(place, Place)]


def _prepared_in(finding: Finding) -> bool:
    return Place.PREPARED in finding.branches.values()


def _prepared(
    fleet: str, connect_primary: ConnectPrimary, shards: Iterable[ShardId]
) -> tuple[dict[UUID, dict[ShardId, str]], dict[ShardId, str]]:
    """Return the prepared branches of ours by transaction, and why shards could not be asked."""
    found: dict[UUID, dict[ShardId, str]] = defaultdict(dict)
    unreached: dict[ShardId, str] = {}
    for shard in shards:
        try:
            with asking(connect_primary, shard) as connection:
                for text in list_prepared(connection, fleet):
                    gid = parse_gid(text)
                    assert gid is not None  # list_prepared leaves out what is not ours
                    found[gid.transaction][shard] = text
        except (ShardRouterError, DBAPIError) as error:
            unreached[shard] = first_line(error)
    return found, unreached


def _finding(
    entry: JournalEntry,
    prepared: Mapping[ShardId, str],
    look: Callable[[ShardId, str], Place | str],
) -> Finding:
    branches = {
        shard: Place.PREPARED if shard in prepared else look(shard, gid)
        for shard, gid in entry.branches.items()
    }
    return Finding(entry.id, entry, entry.branches, branches)


def _unknown(
    id: UUID,
    prepared: Mapping[ShardId, str],
    possible: Mapping[ShardId, str],
    look: Callable[[ShardId, str], Place | str],
) -> Finding:
    """Nobody knows its shards any more: look at all of them, keep those that show a trace."""
    gids: dict[ShardId, str] = {}
    branches: dict[ShardId, Place | str] = {}
    for shard, gid in possible.items():
        place = Place.PREPARED if shard in prepared else look(shard, gid)
        if place is not Place.ABSENT:
            branches[shard] = place
        if place in (Place.PREPARED, Place.COMMITTED):
            gids[shard] = gid
    return Finding(id, None, gids, branches)


def _marked(connect_primary: ConnectPrimary, shard: ShardId, gid: str) -> Place | str:
    try:
        with asking(connect_primary, shard) as connection:
            return Place.COMMITTED if is_marked(connection, gid) else Place.ABSENT
    except (ShardRouterError, DBAPIError) as error:
        return first_line(error)
