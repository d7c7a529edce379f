"""What programs feel of a copy, and whether a limit that an operator sets is kept.

Clients write one row by key at a fixed rate, far below what passes, first alone, then while rows
are copied and deleted, safe and fast, then both again with ``rebalance.max_p99_ms``: a value
between the times of their quiet and of their disturbed writes. What is measured is the 99th
percentile of the clients' writes in the states ``copying`` and ``cleaning``.

Hypothesis: with two CPUs for everything a copy that takes both doubles the clients' p99; a limit
makes the copy wait and holds within a tenth, as it looks every 50 ms.
"""

import time
from dataclasses import dataclass, field
from math import sqrt
from statistics import median
from typing import Any, Final

from benchmarks.measure import check
from benchmarks.rebalance.carried import Carried
from benchmarks.rebalance.load import Order
from benchmarks.rebalance.load_process import load
from benchmarks.rebalance.stage import OTHER, SHARD, RebalanceStage, open_stage
from benchmarks.rebalance.tables import held
from benchmarks.rebalance.transactions import Notes, p99_during
from benchmarks.rows import Row
from benchmarks.suite import Effort
from shardrouter.topology import MoveState

ACCOUNTS: Final = 1_000_000
QUICK_ACCOUNTS: Final = 100_000
MOVING: Final = 3072
LEFT: Final = 16
ROUNDS: Final = 5
PER_SECOND: Final = 200.0
QUIET_SECONDS: Final = 5.0
BOUND: Final = 1.1
MILLISECONDS: Final = 1e3
LIMITED: Final = {"safe, limited": "safe", "fast, limited": "fast"}
"""Copies with a limit, and those without it that tell what limit to set."""

KINDS: Final = ("safe", "fast", *LIMITED)


@dataclass(slots=True)
class Felt:
    """99th percentiles of the clients' writes in milliseconds, by round."""

    quiet: list[float] = field(default_factory=list)
    during: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    seconds: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    """How long each copy took."""

    limits: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in LIMITED})


class Fro:
    """Carries the same slots to and fro, each time under a load of its own."""

    def __init__(self, stage: RebalanceStage, accounts: int) -> None:
        self._stage = stage
        self._ends = (SHARD, OTHER)
        topology = stage.topology
        self._slots = topology.slots_of(topology.shard(SHARD).id)[:MOVING]
        self._order = Order(
            settings=str(stage.settings),
            notes=str(stage.directory / "notes.json"),
            accounts=accounts,
            moving_slots=self._slots,
            moving_share=0.75,
            is_single=True,
            per_second=PER_SECOND,
        )
        self._added = 0

    def quiet(self) -> float:
        """Return the p99 of clients that nothing disturbs."""
        with load(self._order, self._stage.directory) as running:
            start = time.monotonic()
            time.sleep(QUIET_SECONDS)
            notes = running.end()
        self._check(notes)
        return p99_during(notes, [(start, start + QUIET_SECONDS)]) * MILLISECONDS

    def move(self, kind: str, **limits: Any) -> tuple[float, float]:
        """Move the slots; return the p99 meanwhile and the seconds of the copy."""
        for shard in self._ends:
            self._stage.execute(shard, "VACUUM (ANALYZE) accounts", "CHECKPOINT")
        with load(self._order, self._stage.directory) as running:
            mode = kind.partition(",")[0]
            done = self._carry(mode, limits)
            notes = running.end()
        self._check(notes)
        self._ends = self._ends[::-1]
        return p99_during(notes, _stretches(done)) * MILLISECONDS, done.copy_seconds

    def _carry(self, mode: str, limits: dict[str, Any]) -> Carried:
        return self._stage.carrier.carry(self._slots, *self._ends, copy_mode=mode, **limits)

    def _check(self, notes: Notes) -> None:
        check(not notes.failed, f"transactions failed: {notes.failures}")
        self._added += notes.added
        found = held(self._stage.topology).balance
        check(found == self._added, f"{self._added} were added, {found} are there")


def run(effort: Effort) -> list[Row]:
    """Measure writes alone, beside copies, and beside a copy with a limit."""
    accounts = QUICK_ACCOUNTS if effort.is_quick else ACCOUNTS
    felt = Felt()
    with open_stage(accounts, left_to_other=LEFT) as stage:
        fro = Fro(stage, accounts)
        wanted = effort.rounds(ROUNDS)
        for number in range(wanted):
            felt.quiet.append(fro.quiet())
            _note(felt, "safe", fro.move("safe"))
            _note(felt, "fast", fro.move("fast"))
            for kind, free in LIMITED.items():
                felt.limits[kind].append(limit(felt.quiet, felt.during[free]))
                _note(felt, kind, fro.move(kind, max_p99_ms=felt.limits[kind][-1]))
            effort.progress.step(number + 1, wanted)
    return felt_rows(felt)


def limit(quiet: list[float], disturbed: list[float]) -> float:
    """Return a limit that a copy at full speed breaks and that quiet writes keep, if there is one:
    between their times, nearer to the quiet ones. Never below what quiet writes take.
    """
    low, high = median(quiet), median(disturbed)
    return round(sqrt(low * max(low, high)), 2)


def felt_rows(felt: Felt) -> list[Row]:
    """Return the rows."""
    what = "p99 of writes"
    return [
        *(
            Row.of(f"{what} beside a copy, {kind} / the limit", "x", _kept(felt, kind), BOUND)
            for kind in LIMITED
        ),
        *(Row.of(f"the limit, {kind}", "ms", felt.limits[kind]) for kind in LIMITED),
        Row.of(f"{what}, alone", "ms", felt.quiet),
        *(Row.of(f"{what} beside a copy, {kind}", "ms", felt.during[kind]) for kind in KINDS),
        *(Row.of(f"the copy meanwhile, {kind}", "s", felt.seconds[kind]) for kind in KINDS),
    ]


def _kept(felt: Felt, kind: str) -> list[float]:
    pairs = zip(felt.during[kind], felt.limits[kind], strict=True)
    return [p99 / most for p99, most in pairs]


def _note(felt: Felt, kind: str, found: tuple[float, float]) -> None:
    felt.during[kind].append(found[0])
    felt.seconds[kind].append(found[1])


def _stretches(done: Carried) -> list[tuple[float, float]]:
    at = done.began
    return [
        (at[MoveState.COPYING], at[MoveState.CATCHING_UP]),
        (at[MoveState.CLEANING], at[MoveState.DONE]),
    ]
