"""What a query costs the proxy, and how many pass it: pgbench -S in three modes, 8 to 512 clients.

The cost is processor time of the proxy's processes, user and system. At 64 clients the rate and
the 99th percentile of the time of a query count too, and the server is asked without a proxy.

Hypothesis: the kernel takes four fifths of a query in either proxy (two receives, two sends, a
poll), so that the compiled relay stays within 1.25 of PgBouncer; plain Python is at about 1.5.
More clients make more queries a poll and each of them cheaper.
"""

from collections.abc import Mapping
from functools import partial
from itertools import product
from typing import Final

import psycopg

from benchmarks.measure import check
from benchmarks.proxy.doors import DIRECT, PEER, Door
from benchmarks.proxy.peer import door_for_prepared
from benchmarks.proxy.pgbench import Load, Outcome, find_pgbench, run_pgbench, warm_up
from benchmarks.proxy.side_by_side import SideBySide, in_turn
from benchmarks.proxy.stage import ProxyStage, open_stage
from benchmarks.rows import Row
from benchmarks.suite import Effort

CPU_BOUND: Final = 1.25
P99_BOUND: Final = 1.2
MODES: Final = ("simple", "extended", "prepared")
CLIENTS: Final = (8, 64, 512)
TIMED_CLIENTS: Final = 64
SECONDS: Final = 1
"""Of a run. Many short ones in turn tell contenders apart better than a few long ones."""

LONG_SECONDS: Final = 2  # of one with many clients, whose logins are a part of it
ROUNDS: Final = 9
MILLISECONDS: Final = 1e-3
WHOLE: Final = "SELECT count(*), sum(aid) FROM pgbench_accounts"
WHOLE_ANSWER: Final = (100_000, 5_000_050_000)
ONE: Final = "SELECT aid, bid FROM pgbench_accounts WHERE aid = %s"
ONE_ANSWER: Final = (7, 1)


def run(effort: Effort) -> list[Row]:
    """Measure every cell through every door."""
    costs: list[Row] = []
    rates: list[Row] = []
    with open_stage() as stage, stage.open_all() as proxies:
        doors = {DIRECT: stage.direct, **proxies}
        check_answers(doors)
        for load in loads(effort.is_quick):
            compared = measure_load(stage, doors_for(doors, load), load, effort)
            costs += cost_rows(load, compared)
            rates += rate_rows(load, compared) if load.is_logged else []
    return [*costs, *rates]


def loads(is_quick: bool) -> list[Load]:
    """Return the cells; a quick run leaves out those that tell least."""
    return [
        Load(
            mode,
            clients,
            LONG_SECONDS if clients > TIMED_CLIENTS else SECONDS,
            is_logged=clients == TIMED_CLIENTS,
        )
        for mode, clients in product(MODES, CLIENTS)
        if not is_quick or mode == MODES[0] or clients == TIMED_CLIENTS
    ]


def doors_for(doors: Mapping[str, Door], load: Load) -> dict[str, Door]:
    """Return who takes part in a cell: the server itself only where times count."""
    chosen = {n: d for n, d in doors.items() if load.is_logged or n != DIRECT}
    if PEER in chosen and load.mode == "prepared":
        chosen[PEER] = door_for_prepared(chosen[PEER])
    return chosen


def cost_rows(load: Load, compared: SideBySide[Outcome]) -> list[Row]:
    """Return the rows on processor time."""
    what = f"CPU per query, {load.mode} x {load.clients}"
    rows = [
        *compared.against_peer(what, lambda one: one.cpu_us, CPU_BOUND),
        *compared.each(what, "us", lambda one: one.cpu_us, leave_out=DIRECT),
    ]
    if load.is_logged:
        user = f"{what}, user mode"
        rows += compared.each(user, "us", lambda one: one.user_us, leave_out=DIRECT)
    return rows


def rate_rows(load: Load, compared: SideBySide[Outcome], where: str = "") -> list[Row]:
    """Return the rows on the rate and on the time of a query."""
    rate, p99 = (
        f"{what}, {load.mode} x {load.clients}{where}"
        for what in ("queries per second", "p99 latency")
    )
    return [
        *compared.rate_of_peer(rate, lambda one: one.per_second),
        *compared.each(rate, "1/s", lambda one: one.per_second),
        *compared.against_peer(p99, lambda one: one.p99_us, P99_BOUND),
        *compared.each(p99, "ms", lambda one: one.p99_us * MILLISECONDS),
    ]


def measure_load(
    stage: ProxyStage, chosen: Mapping[str, Door], load: Load, effort: Effort
) -> SideBySide[Outcome]:
    """Run one cell through its doors in turn."""
    program = find_pgbench(stage.fleet)

    def through(door: Door) -> Outcome:
        with stage.load_for(door):
            return run_pgbench(program, door, load)

    for door in chosen.values():
        warm_up(program, door, load)
    blocks = {name: partial(through, door) for name, door in chosen.items()}
    found = in_turn(blocks, effort.rounds(ROUNDS), effort.progress)
    return SideBySide(found, {name: door.note for name, door in chosen.items()})


def check_answers(doors: Mapping[str, Door]) -> None:
    """Every door leads to the same rows, also with values that are sent apart."""
    for name, door in doors.items():
        with psycopg.connect(door.dsn, autocommit=True) as connection:
            whole = connection.execute(WHOLE).fetchone()
            one = connection.execute(ONE, (7,)).fetchone()
        check((whole, one) == (WHOLE_ANSWER, ONE_ANSWER), f"{name} answers {whole} and {one}")
