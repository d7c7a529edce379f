"""Memory of a proxy for each of 10,000 clients that are logged in, asked once and idle.

A proxy starts anew each round, as memory that is free is not given back. Resident memory of all
its processes counts; buffers in the kernel do not, and are the same for every proxy.

Hypothesis: PgBouncer keeps a few hundred bytes a client, as it lends buffers only to busy ones.
Ours is some objects with a dict or two, a transport of uvloop with libuv's handle: 5 to 10 kB.
"""

import time
from functools import partial
from typing import Final

from benchmarks.measure import check
from benchmarks.proxy.accounting import resident_bytes
from benchmarks.proxy.doors import USER, Door
from benchmarks.proxy.raw_client import RawClient
from benchmarks.proxy.side_by_side import SideBySide, in_turn
from benchmarks.proxy.stage import ProxyStage, files_max, open_stage
from benchmarks.rows import Row
from benchmarks.suite import Effort

CLIENTS: Final = 10_000
QUICK_CLIENTS: Final = 1000
SPARE_FILES: Final = 200
"""What a process opens besides its clients' sockets."""

BOUND_KILOBYTES: Final = 12.0
ROUNDS: Final = 3
WARM_CLIENTS: Final = 50
"""Opened first, so that what is made once is not counted."""

SETTLE_SECONDS: Final = 1.0
KILOBYTES: Final = 1e-3
ANSWER: Final = [b"\0\1\0\0\0\00242"]


def run(effort: Effort) -> list[Row]:
    """Open clients at each proxy."""
    wanted = QUICK_CLIENTS if effort.is_quick else CLIENTS
    with open_stage() as stage:
        clients = min(wanted, files_max() - SPARE_FILES)
        blocks = {name: partial(_bytes_each, stage, name, clients) for name in stage.proxies}
        compared = SideBySide(in_turn(blocks, effort.rounds(ROUNDS), effort.progress))
    what = f"memory per client, {clients:,} idle"
    return compared.each(what, "kB", lambda size: size * KILOBYTES, bound=BOUND_KILOBYTES)


def _bytes_each(stage: ProxyStage, name: str, clients: int) -> float:
    with stage.open(name) as door, stage.load_for(door):
        warm = _open(door, WARM_CLIENTS)
        time.sleep(SETTLE_SECONDS)
        before = resident_bytes(door.pids)
        opened = _open(door, clients)
        time.sleep(SETTLE_SECONDS)
        grown = resident_bytes(door.pids) - before
        _check_all_live(opened)
        for client in (*warm, *opened):
            client.close()
    return grown / clients


def _open(door: Door, many: int) -> list[RawClient]:
    clients = [RawClient(door, USER) for _ in range(many)]
    for client in clients:
        check(client.ask("SELECT 42") == ANSWER, f"{door.name} answers wrongly")
    return clients


def _check_all_live(clients: list[RawClient]) -> None:
    """None was thrown out: the first, the last and some between still get answers."""
    for client in clients[:: max(1, len(clients) // 50)] + clients[-1:]:
        check(client.ask("SELECT 42") == ANSWER, "an idle client was lost")
