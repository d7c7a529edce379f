"""Compare what programs were told with what the shards hold."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from demo.models import LogEntry, Stock
from demo.traffic import Told
from demo.transfers import PARTS_EACH
from shardrouter import Router

Entry = tuple[str, int]
"""Tail number and id."""


@dataclass(frozen=True, slots=True)
class Differences:
    """How many writes are not as their programs were told."""

    lost: int
    """Acknowledged, and on no shard."""

    doubled: int
    """There more than once, or counted more often than acknowledged."""

    strange: int
    """On a shard that does not own them."""

    @property
    def are_none(self) -> bool:
        return not (self.lost or self.doubled or self.strange)


def compare_all(
    told: Sequence[Told], entries: Mapping[str, Iterable[Entry]], counts: Mapping[str, int]
) -> Differences:
    """Compare acknowledged writes with the entries of each shard and the counts of all planes.

    Pure. A write whose answer was an error may be there or not: only what was acknowledged, and
    what nobody can have written, counts as a difference.
    """
    wanted = Counter(entry for one in told for entry in one.entries)
    found = Counter(entry for on_shard in entries.values() for entry in on_shard)
    missing = sum((wanted - found).values())
    repeated = sum(times - 1 for times in found.values())
    acknowledged = sum((one.counts() for one in told), Counter[str]())
    short = sum(max(acknowledged[tailnum] - count, 0) for tailnum, count in counts.items())
    over = sum(max(count - acknowledged[tailnum], 0) for tailnum, count in counts.items())
    unknown = sum(one.failed for one in told)
    return Differences(
        lost=max(missing, short), doubled=max(repeated, over - unknown, 0), strange=0
    )


def read_ledger(router: Router, told: Sequence[Told], tailnums: Sequence[str]) -> Differences:
    """Read all primaries, without the router's merging, and compare."""
    entries: dict[str, list[Entry]] = {}
    counts: dict[str, int] = {}
    strange = 0
    for shard in router.topology.shards:
        with router.session(shard=shard.id, read="primary") as session:
            query = select(LogEntry.tailnum, LogEntry.id).where(LogEntry.tailnum.in_(tailnums))
            found = [(tailnum, id) for tailnum, id in session.execute(query)]
            stock = select(Stock.tailnum, Stock.parts).where(Stock.tailnum.in_(tailnums))
            for tailnum, parts in session.execute(stock):
                counts[tailnum] = counts.get(tailnum, 0) + parts - PARTS_EACH
                strange += router.shard_of(tailnum).id != shard.id
        entries[shard.id] = found
        strange += sum(router.shard_of(tailnum).id != shard.id for tailnum, _ in found)
    compared = compare_all(told, entries, counts)
    return Differences(compared.lost, compared.doubled, strange)
