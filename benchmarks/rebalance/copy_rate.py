"""Copy rows by moves, safe and fast, beside COPY by hand between the same two servers.

One after the other in each round, in turning order, each in the direction in which the rows go
next: by hand, and by moves that carry them there for good. What is timed of a move is its state
``copying``: by hand nobody makes streams, compares rows or deletes them either. Both tables are
rewritten before each copy, so that nobody writes into another's free space. Every copy is counted
on the other side, and a move compares all of its rows itself.

Hypothesis: a safe copy is one COPY as text with the condition on the rows; a fast one is binary
and has two at once, which two CPUs that also read and write cannot quite use.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.estimate import ratios
from benchmarks.measure import check
from benchmarks.proxy.side_by_side import in_turn
from benchmarks.rebalance.by_hand import HandCopy
from benchmarks.rebalance.carried import Carried
from benchmarks.rebalance.stage import OTHER, SHARD, RebalanceStage, open_stage
from benchmarks.rebalance.tables import KEY, accounts_in
from benchmarks.rows import Row
from benchmarks.suite import Effort
from shardrouter.postgres.guard_sql import in_slots_sql
from shardrouter.topology import MoveState

ACCOUNTS: Final = 2_000_000
QUICK_ACCOUNTS: Final = 100_000
MOVING: Final = 3072
"""Slots of 4096: three quarters of the rows move, and the condition leaves a quarter out."""

LEFT: Final = 16
"""Slots that the other shard has from the beginning."""

ROUNDS: Final = 5
BOUND: Final = round(1 / 0.7, 3)  # "at least 0.7 of the rate by hand", from the other side
BY_HAND: Final = "by hand"
SAFE: Final = "safe"
FAST: Final = "fast"
MEGABYTES: Final = 1e-6
PAUSES: Final = "delete_rows = 50000"


class Rows:
    """The rows that go to and fro, and where they are now."""

    def __init__(self, stage: RebalanceStage) -> None:
        self._stage = stage
        topology = stage.topology
        self.slots = topology.slots_of(topology.shard(SHARD).id)[:MOVING]
        self.condition = in_slots_sql(KEY, self.slots, topology.slots)
        self.source, self.target = SHARD, OTHER
        self.count = accounts_in(self.slots, topology, SHARD)
        self.carried: dict[str, list[Carried]] = {SAFE: [], FAST: []}
        self._psql = Path(stage.fleet.binaries.program("psql"))

    def copy_by_hand(self) -> float:
        """Copy there, count, and delete what was copied; return the seconds of the copy."""
        self._tidy()
        ends = self._stage.dsn(self.source), self._stage.dsn(self.target)
        taken = HandCopy(self._psql, "accounts", self.condition, *ends).run()
        self._check_arrived()
        delete = f"DELETE FROM accounts WHERE {self.condition}"
        self._stage.execute(self.target, delete, as_replica=True)
        return taken

    def copy_by_move(self, mode: str) -> float:
        """Move there; return the seconds of the copy. The next copy goes the other way."""
        self._tidy()
        ends = self.source, self.target
        done = self._stage.carrier.carry(self.slots, *ends, copy_mode=mode)
        self.carried[mode].append(done)
        self._check_arrived()
        self.source, self.target = self.target, self.source
        return done.copy_seconds

    def _check_arrived(self) -> None:
        found = accounts_in(self.slots, self._stage.topology, self.target)
        check(found == self.count, f"{self.count} accounts were copied, {found} are there")

    def _tidy(self) -> None:
        for shard in (self.source, self.target):
            self._stage.execute(shard, "VACUUM (FULL, ANALYZE) accounts", "CHECKPOINT")


def run(effort: Effort) -> list[Row]:
    """Copy the rows to and fro."""
    accounts = QUICK_ACCOUNTS if effort.is_quick else ACCOUNTS
    with open_stage(accounts, left_to_other=LEFT, rebalance=PAUSES) as stage:
        rows = Rows(stage)
        blocks: dict[str, Callable[[], float]] = {
            BY_HAND: rows.copy_by_hand,
            SAFE: partial(rows.copy_by_move, SAFE),
            FAST: partial(rows.copy_by_move, FAST),
        }
        found = in_turn(blocks, effort.rounds(ROUNDS), effort.progress)
    what = f"{rows.count:,} rows"
    ours = [
        Row.of(f"copy rate: {BY_HAND} / {mode}", "x", ratios(found[mode], found[BY_HAND]), BOUND)
        for mode in (SAFE, FAST)
    ]
    rates = [
        Row.of(f"copy of {what}, {name}", "rows/s", [rows.count / s for s in seconds])
        for name, seconds in found.items()
    ]
    return [*ours, *rates, *_total_rows(what, rows)]


def _total_rows(what: str, rows: Rows) -> list[Row]:
    """Return how long whole moves took, and the parts of a safe one."""
    totals = [
        Row.of(f"move of {what}, {mode}", "s", [one.total_seconds for one in done])
        for mode, done in rows.carried.items()
    ]
    parts = [
        Row.of(
            f"move of {what}, safe: {start} to {end}",
            "s",
            [one.between(start, end) for one in rows.carried[SAFE]],
        )
        for start, end in (
            (MoveState.PLANNED, MoveState.COPYING),
            (MoveState.COPYING, MoveState.CATCHING_UP),
            (MoveState.CATCHING_UP, MoveState.VERIFYING),
            (MoveState.VERIFYING, MoveState.READY),
            (MoveState.READY, MoveState.CLEANING),
            (MoveState.CLEANING, MoveState.DONE),
        )
    ]
    return [*totals, *parts]
