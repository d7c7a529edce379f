"""Write, then read at once from a replica: how often is what was just written missing?"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final

from prometheus_client import REGISTRY
from sqlalchemy import select

from demo.models import LogEntry
from demo.report import Mismatch, Report
from shardrouter import Router

OUTCOMES: Final = ("replica", "waited", "primary")


@dataclass(frozen=True, slots=True)
class PairsResult:
    """What became of the pairs of one write and one read."""

    pairs: int
    stale: int
    on_replicas: int
    """Reads that a replica answered."""

    answered: Mapping[str, int]
    """Reads by outcome, as the metrics count them."""


def write_and_read(router: Router, tailnums: Sequence[str], with_token: bool = True) -> PairsResult:
    """Write a log entry for each tail number; read it at once with ``read="replica"``.

    Without the token the read does not know of the write, as if another process did it.
    """
    before = _reads()
    primaries = {shard.primary.id for shard in router.topology.shards}
    stale = on_replicas = 0
    for number, tailnum in enumerate(tailnums):
        entry = router.new_id(tailnum)
        with router.session(key=tailnum) as session:
            session.add(LogEntry(tailnum=tailnum, id=entry, note=f"note {number}"))
            session.commit()
        with (
            nullcontext() if with_token else router.causal(),
            router.session(key=tailnum, read="replica") as session,
        ):
            found = session.scalar(
                select(LogEntry.note).where(LogEntry.tailnum == tailnum, LogEntry.id == entry)
            )
            node = session.unit.node
            on_replicas += node is not None and node.id not in primaries
        stale += found != f"note {number}"
    answered = {outcome: count - before[outcome] for outcome, count in _reads().items()}
    return PairsResult(len(tailnums), stale, on_replicas, answered)


def _reads() -> dict[str, int]:
    return {
        outcome: int(
            REGISTRY.get_sample_value("shardrouter_reads_total", {"outcome": outcome}) or 0
        )
        for outcome in OUTCOMES
    }


def check_freshness(report: Report, router: Router, tailnums: Sequence[str]) -> None:
    """Write and read at once, with and without the token."""
    report.section("Reads from replicas see what was just written")
    with report.timed() as watch, report.waiting("writing and reading"):
        result = write_and_read(router, tailnums)
    report.say(
        f'{result.pairs:,} writes, each read at once with read="replica", in {watch.text} '
        f"({watch.rate(result.pairs)} pairs/s)"
    )
    report.say(f"stale reads: {result.stale} of {result.pairs:,}")
    report.say(f"answered by {_answered(result)}")
    if result.stale:
        raise Mismatch(f"{result.stale} of {result.pairs} reads did not see the write before them")
    blind = write_and_read(router, tailnums, with_token=False)
    report.say(
        f"for comparison, without the freshness token: {blind.stale} of {blind.pairs:,} stale"
    )


def _answered(result: PairsResult) -> str:
    at_once, waited, primary = (
        result.answered[outcome] for outcome in ("replica", "waited", "primary")
    )
    return (
        f"a replica known to be fresh: {at_once:,}, a replica that first caught up: {waited:,}, "
        f"the primary: {primary:,}"
    )
