"""The section that makes the tables and loads every row through the library."""

from collections.abc import Sequence
from dataclasses import dataclass

from demo.data.tables import UNKNOWN_TAILNUM, read_flights
from demo.flights import copy_lines, planes, reference_rows
from demo.loading import load_flights, load_planes, load_reference, shard_counts
from demo.models import Airline, Airport, Base, Flight, Plane
from demo.report import Mismatch, Report
from shardrouter import Router


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was loaded, for the comparison with plain Postgres."""

    lines: Sequence[tuple[str, str]]
    tailnums: Sequence[str]
    """Of the planes table."""


def load(report: Report, router: Router) -> Loaded:
    """Make the tables and load all rows through the library."""
    report.section("Loading through the library")
    router.create_all(Base.metadata)
    with report.timed() as watch:
        small = reference_rows()
        load_reference(router, small)
    report.say(f"airlines and airports: {len(small):,} rows on every shard, in {watch.text}")
    fleet = planes()
    tailnums = [plane.tailnum for plane in fleet]
    with report.timed() as watch:
        load_planes(router, fleet)
    rate = watch.rate(len(fleet))
    report.say(f"planes: {len(tailnums):,} rows by sessions, in {watch.text} ({rate} rows/s)")
    with report.timed() as watch, report.waiting("reading flights, making an id for each"):
        lines = list(copy_lines(read_flights(), router.new_id))
    rate = watch.rate(len(lines))
    report.say(f"flights: {len(lines):,} rows and ids made, in {watch.text} ({rate} rows/s)")
    with report.timed() as watch, report.progress("flights", len(lines)) as advance:
        load_flights(router, lines, advance)
    rate = watch.rate(len(lines))
    report.say(f"flights: {len(lines):,} rows by COPY, in {watch.text} ({rate} rows/s)")
    _show_counts(report, router, len(lines), len(tailnums))
    return Loaded(lines, tailnums)


def _show_counts(report: Report, router: Router, flights: int, planes_in_all: int) -> None:
    models = (Flight, Plane, Airline, Airport)
    counts = {model: shard_counts(router, model) for model in models}
    shards = [shard.id for shard in router.topology.shards]
    rows = [(model.__tablename__, *(counts[model][shard] for shard in shards)) for model in models]
    report.table(("rows", *(f"on {shard}" for shard in shards)), rows)
    for model, wanted in ((Flight, flights), (Plane, planes_in_all)):
        found = sum(counts[model].values())
        if found != wanted:
            raise Mismatch(f"{wanted:,} rows of {model.__tablename__} loaded, {found:,} are there")
    home = router.shard_of(UNKNOWN_TAILNUM).id
    report.say(f"flights without a tail number are under {UNKNOWN_TAILNUM!r}, all on {home}")
