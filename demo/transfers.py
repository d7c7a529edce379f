"""Hand spare parts from plane to plane over two shards: none may be lost or doubled."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import psycopg
from sqlalchemy import select, update

from demo.models import Stock
from demo.report import Mismatch, Report
from shardrouter import Router

PARTS_EACH: Final = 10
TRANSFERS: Final = 200


@dataclass(frozen=True, slots=True)
class Totals:
    """What all shards hold together."""

    parts: int
    prepared: int
    """Prepared transactions that nobody finished."""


class ChangeOfMind(Exception):
    """Raised inside a transaction, to see that nothing of it stays."""


def fill(router: Router, tailnums: Sequence[str]) -> None:
    """Give each plane its parts."""
    for tailnum in tailnums:
        with router.session(key=tailnum) as session:
            session.add(Stock(tailnum=tailnum, parts=PARTS_EACH))
            session.commit()


def hand_over(router: Router, giver: str, taker: str, parts: int = 1) -> None:
    """Move parts between planes in one transaction, on whatever shards they are."""
    with router.transaction(keys=[giver, taker]) as tx:
        for tailnum, change in ((giver, -parts), (taker, parts)):
            tx[tailnum].execute(
                update(Stock).where(Stock.tailnum == tailnum).values(parts=Stock.parts + change)
            )


def give_up(router: Router, giver: str, taker: str) -> None:
    """Begin to hand parts over and fail after both shards have written."""
    try:
        with router.transaction(keys=[giver, taker]) as tx:
            for tailnum in (giver, taker):
                tx[tailnum].execute(
                    update(Stock).where(Stock.tailnum == tailnum).values(parts=Stock.parts + 1)
                )
            raise ChangeOfMind
    except ChangeOfMind:
        pass


def totals(router: Router) -> Totals:
    """Add up what the primaries hold, without the router's merging."""
    parts = prepared = 0
    for shard in router.topology.shards:
        with router.session(shard=shard.id, read="primary") as session:
            parts += sum(session.scalars(select(Stock.parts)))
        with psycopg.connect(shard.primary.dsn) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()"
            ).fetchone()
            prepared += row[0] if row else 0
    return Totals(parts, prepared)


def check_transfers(
    report: Report, router: Router, tailnums: Sequence[str], rng: random.Random
) -> None:
    """Move parts between planes on different shards; nothing may be lost or left open."""
    report.section("Transactions over two shards")
    groups = [_some_on(router, tailnums, s.id) for s in router.topology.shards[:2]]
    planes_used = [tailnum for group in groups for tailnum in group]
    fill(router, planes_used)
    with report.timed() as watch, report.waiting("handing parts over"):
        for _ in range(TRANSFERS):
            giver, taker = rng.sample([rng.choice(group) for group in groups], 2)
            hand_over(router, giver, taker)
    give_up(router, groups[0][0], groups[1][0])
    left = totals(router)
    wanted = PARTS_EACH * len(planes_used)
    if left.parts != wanted or left.prepared:
        raise Mismatch(f"{wanted} parts before, {left.parts} after, {left.prepared} left prepared")
    report.say(
        f"{TRANSFERS} transfers between planes of two shards, in {watch.text} "
        f"({watch.rate(TRANSFERS)} transfers/s), one more given up half way"
    )
    report.say(f"parts before and after: {wanted}; transactions left open: {left.prepared}")


def _some_on(router: Router, tailnums: Sequence[str], shard: str) -> list[str]:
    found = [tailnum for tailnum in tailnums if router.shard_of(tailnum).id == shard]
    return found[:20]
