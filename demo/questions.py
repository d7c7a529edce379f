"""The sections that ask the shards and one plain Postgres the same questions."""

from collections.abc import Callable
from typing import Any, Final

from demo.flights import planes, reference_rows
from demo.loading_section import Loaded
from demo.plain import PlainPostgres, compare
from demo.rankings import (
    RANKINGS,
    Question,
    flights_by_maker,
    flights_of,
    unmergeable,
)
from demo.report import Mismatch, Report
from shardrouter import Router
from shardrouter.errors import CrossShardUnsupported

Answer = list[tuple[Any, ...]]

REPEATS: Final = 3  # the first time on each side also fills caches


def load_plain(report: Report, plain: PlainPostgres, loaded: Loaded) -> None:
    """Load the same rows into one plain database."""
    report.section("The same rows in one plain Postgres, to compare with")
    lines = [line for _, line in loaded.lines]
    with report.timed() as watch, report.progress("flights", len(lines)) as advance:
        plain.load([*reference_rows(), *planes()], lines, advance)
    report.say(f"{len(lines):,} flights by COPY, in {watch.text} ({watch.rate(len(lines))} rows/s)")
    report.say(f"times of questions below are the shortest of {REPEATS}")


def check_join(report: Report, router: Router, plain: PlainPostgres, tailnum: str) -> None:
    """Join flights and planes: for one plane on its shard, for all planes on all shards."""
    report.section("Joins of tables that live together")
    question = flights_of(tailnum)
    with router.session(key=tailnum, read="replica") as session:
        found = [tuple(row) for row in session.execute(question.query)]
        node = session.unit.node
    compare(question.text, found, plain.answer(question.query))
    report.say(f"{question.text} (one shard, read from {node.id if node else '?'}):")
    report.table(question.columns, found)
    ask(report, router, plain, flights_by_maker())


def check_rankings(report: Report, router: Router, plain: PlainPostgres) -> None:
    """Gather from all shards; refuse what cannot be merged exactly."""
    report.section("Questions to all shards, each answer equal to plain Postgres")
    for question in RANKINGS:
        ask(report, router, plain, question())
    try:
        router.gather(unmergeable())
    except CrossShardUnsupported as error:
        report.say(f"refused, as it cannot be merged exactly: {error.message}")
    else:
        raise Mismatch("a window function over all shards was answered instead of refused")


def ask(report: Report, router: Router, plain: PlainPostgres, question: Question) -> None:
    """Gather one answer, compare it, print it."""
    found, ours = _fastest(report, lambda: [tuple(row) for row in router.gather(question.query)])
    wanted, theirs = _fastest(report, lambda: plain.answer(question.query))
    compare(question.text, found, wanted)
    report.say(f"{question.text}: equal ({ours}, plain Postgres {theirs})")
    report.table(question.columns, found)


def _fastest(report: Report, answer: Callable[[], Answer]) -> tuple[Answer, str]:
    """Return the answer and the shortest time it took."""
    watches = []
    for _ in range(REPEATS):
        with report.timed() as watch:
            found = answer()
        watches.append(watch)
    return found, min(watches, key=lambda watch: watch.seconds).text
