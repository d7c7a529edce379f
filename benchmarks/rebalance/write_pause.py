"""Move slots to and fro under load: how long do writers wait?

Two views of the same moves. The mover's: from the moment it asks routers to hold writes until they
may go on. The clients': the longest transaction on moving accounts that ran meanwhile, with all
that it waits for anyway on a busy machine. Clients of the library and of the proxy do pgbench's
transactions: at a fixed rate, and as fast as they get answers, when no CPU is ever idle. At the
end every acknowledged transaction must be there, once.

Hypothesis: the answers of the routers, one lock and two commits of the catalog are a few round
trips each, some 30 ms; without an idle CPU each of them waits for its turn. A replica adds some.
"""

from dataclasses import dataclass
from typing import Final

from benchmarks.estimate import estimate_quantile
from benchmarks.measure import check
from benchmarks.rebalance.carried import Carried
from benchmarks.rebalance.load import Order
from benchmarks.rebalance.load_process import load
from benchmarks.rebalance.proxied import proxy_dsn
from benchmarks.rebalance.stage import OTHER, SHARD, RebalanceStage, first_slots, open_stage
from benchmarks.rebalance.tables import held
from benchmarks.rebalance.transactions import Notes, longest_during
from benchmarks.rows import Row
from benchmarks.suite import Effort
from shardrouter.topology import MoveState

ACCOUNTS: Final = 100_000
MOVING: Final = 64
"""Slots of a move: one and a half per cent of the accounts, and half of the transactions."""

MOVES: Final = 40
BOUND_MS: Final = 100.0
MARGIN_SECONDS: Final = 0.02  # the journal's time is that of a transaction's begin
LIBRARY_CLIENTS: Final = 3
PROXY_CLIENTS: Final = 3
MILLISECONDS: Final = 1e3
RATE: Final = 300.0
LOADS: Final = (
    (f"{RATE:g} a second", 0, RATE),
    (f"{RATE:g} a second, 1 replica", 1, RATE),
    ("no idle CPU", 0, 0.0),
)
"""Name, replicas of each shard, transactions a second."""

QUANTILES: Final = {"p50": 0.5, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Paused:
    """What was found of some moves, in milliseconds."""

    by_mover: list[float]
    by_clients: list[float]
    notes: Notes
    put_off: int
    """Cutovers that had to be tried again."""


def run(effort: Effort) -> list[Row]:
    """Move slots under each load."""
    rows: list[Row] = []
    for name, replicas, per_second in LOADS:
        rows += pause_rows(name, _moved_under_load(effort, replicas, per_second))
    return rows


def pause_rows(what: str, found: Paused) -> list[Row]:
    """Return the rows of one load. The bound is meant for the mover's 99th percentile."""
    rows = []
    for view, samples in (("mover", found.by_mover), ("clients", found.by_clients)):
        for name, part in QUANTILES.items():
            value = estimate_quantile(samples, part)
            bound = BOUND_MS if (view, name) == ("mover", "p99") else None
            rows.append(
                Row(
                    f"write pause {name} seen by the {view}, {what}",
                    *("ms", value.median, value.low, value.high, bound),
                )
            )
    done, moves = len(found.notes.transactions), len(found.by_mover)
    failed = float(found.notes.failed)
    return [
        *rows,
        Row.of(f"failed transactions, {what}", f"of {done + found.notes.failed:,}", [failed], 0.0),
        Row.of(f"cutovers put off, {what}", f"of {moves}", [float(found.put_off)]),
    ]


def _moved_under_load(effort: Effort, replicas: int, per_second: float) -> Paused:
    with open_stage(ACCOUNTS, replicas=replicas) as stage:
        slots = first_slots(stage.topology, SHARD, MOVING)
        with proxy_dsn(stage) as dsn:
            order = Order(
                settings=str(stage.settings),
                notes=str(stage.directory / "notes.json"),
                accounts=ACCOUNTS,
                moving_slots=tuple(slots),
                proxy_dsn=dsn,
                library_clients=LIBRARY_CLIENTS,
                proxy_clients=PROXY_CLIENTS,
                per_second=per_second,
            )
            with load(order, stage.directory) as running:
                done = _to_and_fro(stage, slots, effort)
                notes = running.end()
        _check_nothing_lost(stage, notes)
    return Paused(
        [one.pause_seconds * MILLISECONDS for one in done],
        [_seen(notes, one) * MILLISECONDS for one in done],
        notes,
        sum(one.move.cutovers - 1 for one in done),
    )


def _to_and_fro(stage: RebalanceStage, slots: tuple[int, ...], effort: Effort) -> list[Carried]:
    wanted = effort.rounds(MOVES)
    ends, done = (SHARD, OTHER), []
    for number in range(wanted):
        done.append(stage.carrier.carry(slots, *ends))  # type: ignore[arg-type]
        ends = ends[::-1]
        effort.progress.step(number + 1, wanted)
    return done


def _seen(notes: Notes, one: Carried) -> float:
    start, end = one.began[MoveState.PAUSING], one.began[MoveState.CLEANING]
    return longest_during(notes, start - MARGIN_SECONDS, end + MARGIN_SECONDS)


def _check_nothing_lost(stage: RebalanceStage, notes: Notes) -> None:
    """Every acknowledged transaction is there once: in the changes and in the balances."""
    found = held(stage.topology)
    done = len(notes.transactions)
    check(found.accounts == ACCOUNTS, f"{ACCOUNTS} accounts became {found.accounts}")
    if not notes.failed:  # one whose answer was lost may have taken place
        check(found.changes == done, f"{done} transactions left {found.changes} changes")
        check(found.added == notes.added, f"{notes.added} were added, {found.added} are there")
    check(found.balance == found.added, f"balances {found.balance}, changes {found.added}")
