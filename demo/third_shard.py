"""A third shard joins while programs write and read, through the library and through the proxy.

Afterwards what the programs were told is compared with what the shards hold: every acknowledged
write once, on the shard that owns it.
"""

import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from demo.fleet import DemoFleet
from demo.ledger import read_ledger
from demo.loading import shard_counts
from demo.models import Flight, LogEntry, Plane, Stock
from demo.report import Mismatch, Report
from demo.through_proxy import Proxy
from demo.traffic import LibraryDoor, Program, ProxyDoor, running
from demo.transfers import fill
from shardrouter.catalog import Move
from shardrouter.errors import FleetError
from shardrouter.rebalance import RebalancePlan
from shardrouter.topology import MoveState, ShardId

TRAVELLERS: Final = 300
"""Planes that the programs write to."""

MODELS: Final = (Flight, Plane, LogEntry, Stock)
COMMAND_SECONDS: Final = 60
MILLISECONDS: Final = 1e3
MB: Final = 1e6


def check_third_shard(
    report: Report, fleet: DemoFleet, proxy: Proxy, tailnums: Sequence[str], rng: random.Random
) -> None:
    """Let a shard join under traffic. Raises Mismatch when a row or a statement was lost."""
    report.section("A third shard joins while programs write and read")
    travellers = rng.sample(tailnums[len(tailnums) // 2 :], TRAVELLERS)  # the others have parts
    fill(fleet.router, travellers)
    with _programs(fleet, proxy, travellers, rng) as programs:
        new = _start_shard(report, fleet)
        plan = fleet.router.rebalance.plan()
        _show_plan(report, plan)
        with report.timed() as watch:
            moves = _carry_out(report, fleet, plan)
        report.say(f"{plan.slots:,} slots moved in {watch.text}")
    _check_moves(report, fleet, moves, new)
    _check_programs(report, fleet, programs, travellers)


@contextmanager
def _programs(
    fleet: DemoFleet, proxy: Proxy, tailnums: Sequence[str], rng: random.Random
) -> Iterator[list[Program]]:
    """Have one program work through the library and one through the proxy."""
    through = ProxyDoor(proxy.dsn())
    programs = [
        Program(door, tailnums, fleet.router.new_id, random.Random(rng.random()))
        for door in (LibraryDoor(fleet.router), through)
    ]
    try:
        with running(programs):
            yield programs
    finally:
        through.close()


def _start_shard(report: Report, fleet: DemoFleet) -> ShardId:
    """Start the servers and let the fleet know them; the shard owns no slots yet."""
    with report.timed() as watch, report.waiting("starting a third shard"):
        new = fleet.servers.add_shard()
    report.say(f"{new}: a primary and a replica started, in {watch.text}")
    servers = [server for server in fleet.servers.nodes if server.shard_id == new]
    options = [f"--{server.role.value} {server.dsn()}" for server in servers]
    with report.waiting("adding it"):
        _run(report, fleet, f"shard add {new} {' '.join(options)}")
    return new


def _run(report: Report, fleet: DemoFleet, command: str) -> None:
    """Run a command of ``shardrouter`` and show it with what it prints."""
    program = Path(sys.executable).with_name("shardrouter")
    done = subprocess.run(
        [program, *command.split(), "--config", str(fleet.settings)],
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise FleetError(f"`shardrouter {command}` failed: {done.stderr.strip()}")
    report.say(f"$ shardrouter {command}")
    report.say(f"{done.stdout}{done.stderr}")


def _show_plan(report: Report, plan: RebalancePlan) -> None:
    report.say("what `shardrouter rebalance plan` finds:")
    rows = [
        (
            *(one.batch.source, one.batch.target, len(one.batch.slots), one.price.rows),
            *(one.price.bytes / MB, one.price.copy_seconds),
            round(one.price.pause_seconds * MILLISECONDS),
        )
        for one in plan.moves
    ]
    columns = ("from", "to", "slots", "rows", "MB", "seconds to copy", "ms writers wait")
    report.table(columns, rows)
    report.say(f"imbalance {plan.imbalance_before:.2f} now, {plan.imbalance_after:.2f} afterwards")


def _carry_out(report: Report, fleet: DemoFleet, plan: RebalancePlan) -> list[Move]:
    with report.progress("slots on their way", plan.rows) as advance:
        moves = fleet.router.rebalance.apply(plan, on_progress=_shown(advance))
    for move in moves:
        if move.state is not MoveState.DONE:
            raise Mismatch(f"move {move.number} is {move.state}: {move.attention}")
    return moves


def _shown(advance: Callable[[int], None]) -> Callable[[Move, Mapping[str, Any]], None]:
    """Return what takes a move's progress and shows the rows that came since."""
    copied: dict[int, int] = {}

    def show(move: Move, progress: Mapping[str, Any]) -> None:
        now = int(progress.get("rows_copied", 0))
        advance(max(now - copied.get(move.number, 0), 0))
        copied[move.number] = max(now, copied.get(move.number, 0))

    return show


def _check_moves(report: Report, fleet: DemoFleet, moves: Sequence[Move], new: ShardId) -> None:
    """Print what is where now, and that nothing moved that need not."""
    topology = fleet.router.topology
    counts = {model: shard_counts(fleet.router, model) for model in MODELS}
    shards = [shard.id for shard in topology.shards]
    rows = [(model.__tablename__, *(counts[model][shard] for shard in shards)) for model in MODELS]
    report.table(("rows", *(f"on {shard}" for shard in shards)), rows)
    moved = sum(int(move.progress.get("rows_verified", 0)) for move in moves)
    pauses = ", ".join(f"{(one.pause_seconds or 0) * MILLISECONDS:.0f} ms" for one in moves)
    report.say(f"writers of moving slots were held back once a move, for {pauses}")
    slots = sum(len(move.slots) for move in moves)
    least = topology.slots // len(shards)
    report.say(
        f"rows moved and compared: {moved:,}; slots moved over the fewest that must:"
        f" {slots / least:.2f}"
    )
    owned = len(topology.slots_of(new))
    if slots != owned or owned not in (least, least + 1):
        raise Mismatch(f"{slots} slots moved, {new} has {owned}, {least} were enough")


def _check_programs(
    report: Report, fleet: DemoFleet, programs: Sequence[Program], tailnums: Sequence[str]
) -> None:
    """Print how the programs fared; compare what they were told with what is there."""
    told = [program.told for program in programs]
    writes, reads = sum(len(one.entries) for one in told), sum(one.reads for one in told)
    longest = {one.name: max(seconds for _, seconds in one.told.waits) for one in programs}
    waits = ", ".join(f"{name} {took * MILLISECONDS:.0f} ms" for name, took in longest.items())
    report.say(f"{writes:,} writes and {reads:,} reads meanwhile; longest write: {waits}")
    failed, blind = sum(one.failed for one in told), sum(one.blind for one in told)
    differences = read_ledger(fleet.router, told, tailnums)
    report.say(f"failed statements: {failed}; reads that missed a write: {blind}")
    report.say(
        f"rows lost: {differences.lost}, doubled: {differences.doubled},"
        f" on a shard that does not own them: {differences.strange}"
    )
    if failed or blind or not differences.are_none:
        failures = "; ".join(failure for one in told for failure in one.failures)
        raise Mismatch(f"{failed} failed, {blind} blind, {differences}: {failures}")
