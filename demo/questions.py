"""The sections that ask the shards and one plain Postgres the same questions."""

from demo.flights import planes, reference_rows
from demo.loading_section import Loaded
from demo.plain import PlainPostgres, compare
from demo.rankings import (
    RANKINGS,
    Question,
    flights_by_maker,
    flights_of,
    total_rows,
    unmergeable,
)
from demo.report import Mismatch, Report
from shardrouter import Router
from shardrouter.errors import CrossShardUnsupported


def load_plain(report: Report, plain: PlainPostgres, loaded: Loaded) -> None:
    """Load the same rows into one plain database."""
    report.section("The same rows in one plain Postgres, to compare with")
    lines = [line for _, line in loaded.lines]
    with report.timed() as watch, report.progress("flights", len(lines)) as advance:
        plain.load([*reference_rows(), *planes()], lines, advance)
    report.say(f"{len(lines):,} flights by COPY, in {watch.text} ({watch.rate(len(lines))} rows/s)")


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
    ask(report, router, plain, total_rows())
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
    with report.timed() as watch:
        found = [tuple(row) for row in router.gather(question.query)]
    with report.timed() as plain_watch:
        wanted = plain.answer(question.query)
    compare(question.text, found, wanted)
    report.say(f"{question.text} ({watch.text}; plain Postgres {plain_watch.text}): equal")
    report.table(question.columns, found)
