"""A third shard joins two, then a fourth: how many rows move, over what must?

A new shard of equal weight must get 1/N of the slots, and nobody else any. So the fewest rows that
can move are those it holds at the end, and a plan that carries slots between the old shards, or
to and fro, shows here. Rows are counted where they arrive, by Postgres' own statistics of inserts.

Hypothesis: 1.00, by the sticky quota and as nothing is copied twice.
"""

from typing import Final

import psycopg

from benchmarks.measure import check
from benchmarks.rebalance.stage import RebalanceStage, open_stage
from benchmarks.rebalance.tables import accounts_in, held
from benchmarks.rows import Row
from benchmarks.suite import Effort
from shardrouter.topology import Topology

ACCOUNTS: Final = 200_000
QUICK_ACCOUNTS: Final = 20_000
SHARDS: Final = (2, 3, 4)
BOUND: Final = 1.0
INSERTED: Final = (
    "SELECT coalesce(sum(n_tup_ins), 0) FROM pg_stat_user_tables WHERE relname = 'accounts'"
)


def run(effort: Effort) -> list[Row]:
    """Let two shards join, one after the other."""
    accounts = QUICK_ACCOUNTS if effort.is_quick else ACCOUNTS
    rows: list[Row] = []
    with open_stage(accounts, shards=SHARDS[0]) as stage:
        for done, shards in enumerate(SHARDS[1:], start=1):
            rows += _joined(stage, shards)
            effort.progress.step(done, len(SHARDS) - 1)
        found = held(stage.topology).accounts
        check(found == accounts, f"{accounts} accounts became {found}")
    return rows


def _joined(stage: RebalanceStage, shards: int) -> list[Row]:
    name = join(stage)
    before = _inserted(stage)
    slots = sum(len(move.slots) for move in stage.carrier.make_even())
    after = stage.topology
    owned = after.slots_of(after.shard(name).id)
    least = accounts_in(owned, after, name)
    moved = _inserted(stage) - before
    what = f"{shards - 1} -> {shards} shards"
    return [
        Row.of(f"rows moved over the minimum, {what}", "x", [moved / least], BOUND),
        Row.of(f"slots moved over {after.slots}/{shards}, {what}", "x", [slots / _part(after)]),
    ]


def join(stage: RebalanceStage) -> str:
    """Start one more shard and let it join, without slots; return its name."""
    name = stage.fleet.add_shard()
    stage.command("shard", "add", name, "--primary", stage.dsn(name))
    return name


def _part(topology: Topology) -> int:
    """Return how many slots a shard must get when all have the same weight."""
    return topology.slots // len(topology.shards)


def _inserted(stage: RebalanceStage) -> int:
    """Return how many accounts were ever inserted, on all shards together."""
    total = 0
    for shard in stage.topology.shards:
        with psycopg.connect(shard.primary.dsn) as connection:
            row = connection.execute(INSERTED).fetchone()
        total += int(row[0]) if row else 0
    return total
