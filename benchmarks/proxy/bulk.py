"""A result of 1 GB and a COPY of 1 GB through a proxy: how long, and how much memory.

The server makes the rows while it sends them and keeps of the COPY only the last row of each
block, so that neither its disk nor the client limits a proxy. Every byte of a result is counted,
and in the warm-up a checksum of all is compared with the server's own.

Hypothesis: 1 kB rows are walked by their headers at several GB a second compiled, so that copying
in the kernel is nearly all; larger reads than PgBouncer's 4 kB make up for Python. Memory stays at
one buffer each way.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from time import perf_counter
from typing import Final

from benchmarks.measure import check
from benchmarks.proxy.accounting import cpu_time, peak_bytes, reset_peak, resident_bytes
from benchmarks.proxy.doors import DIRECT, USER, Door
from benchmarks.proxy.raw_client import READY, RawClient, message
from benchmarks.proxy.side_by_side import RATE_BOUND, SideBySide, in_turn
from benchmarks.proxy.stage import ProxyStage, open_stage
from benchmarks.rows import Row
from benchmarks.suite import Effort

ROWS: Final = 1 << 20
QUICK_ROWS: Final = 1 << 17
BLOCK_ROWS: Final = 1 << 14
TEXT_BYTES: Final = 1000
HEADER_BYTES: Final = 5
COLUMN_BYTES: Final = 18  # what RowDescription says of a column besides its name
TAIL_BYTES: Final = 64
"""At the end of a result: CommandComplete and ReadyForQuery are in them."""

BOUND_MEGABYTES: Final = 64.0
MEGABYTES: Final = 1e-6
ROUNDS: Final = 5
TABLE: Final = "CREATE UNLOGGED TABLE bulk_in (id bigint, payload text)"


@dataclass(frozen=True, slots=True)
class Transfer:
    """One transfer through one door."""

    seconds: float
    cpu_seconds: float
    grown_bytes: int
    """How far the proxy's memory went above what it was before its first transfer."""


def run(effort: Effort) -> list[Row]:
    """Measure both directions."""
    count = QUICK_ROWS if effort.is_quick else ROWS
    size = f"{count * TEXT_BYTES / 1e9:.2g} GB"
    with open_stage() as stage, stage.open_all() as proxies:
        stage.execute([TABLE])
        doors = {DIRECT: stage.direct, **proxies}
        before = {name: resident_bytes(door.pids) for name, door in doors.items()}
        _check_same_bytes(stage, doors, count)
        rows: list[Row] = []
        for what, transfer in (
            (f"{size} result", partial(fetch, count=count)),
            (f"{size} COPY in", partial(copy_in, count=count)),
        ):
            blocks = {
                name: partial(_measured, stage, door, before[name], transfer)
                for name, door in doors.items()
            }
            found = in_turn(blocks, effort.rounds(ROUNDS), effort.progress)
            rows += transfer_rows(what, SideBySide(found))
    return rows


def transfer_rows(what: str, compared: SideBySide[Transfer]) -> list[Row]:
    """Return the rows of one direction."""
    cpu, memory = f"CPU of a {what}", f"memory growth, {what}"
    return [
        *compared.against_peer(f"seconds of a {what}", lambda one: one.seconds, RATE_BOUND),
        *compared.each(f"seconds of a {what}", "s", lambda one: one.seconds),
        *compared.each(cpu, "s", lambda one: one.cpu_seconds, leave_out=DIRECT),
        *compared.each(
            memory,
            "MB",
            lambda one: one.grown_bytes * MEGABYTES,
            bound=BOUND_MEGABYTES,
            leave_out=DIRECT,
        ),
    ]


def fetch(door: Door, count: int, see: Callable[[memoryview], object] | None = None) -> None:
    """Run a large SELECT, count its bytes and let them go."""
    client = RawClient(door, USER)
    client.send_query(f"SELECT generate_series(1, {count}), repeat('x', {TEXT_BYTES})")
    received, tail = 0, b""
    for chunk in client.raw_chunks():
        received += len(chunk)
        tail = (tail + bytes(chunk[-TAIL_BYTES:]))[-TAIL_BYTES:]
        if see is not None:
            see(chunk)
        if tail.endswith(READY):
            break
    tag = f"SELECT {count}\0".encode()
    check(tail.endswith(tag + READY), f"{door.name}: the result ends with {tail!r}")
    check(received == result_bytes(count), f"{door.name}: {received} bytes of {count} rows")
    client.close()


def result_bytes(count: int) -> int:
    """Return the length of the answer, every message counted."""
    columns = sum(len(name) + 1 + COLUMN_BYTES for name in ("generate_series", "repeat"))
    digits = sum(count - int(10**place) + 1 for place in range(len(str(count))))
    rows = count * (HEADER_BYTES + 2 + 4 + 4 + TEXT_BYTES) + digits
    tag = HEADER_BYTES + len(f"SELECT {count}\0")
    return HEADER_BYTES + 2 + columns + rows + tag + len(READY)


def copy_in(door: Door, count: int) -> None:
    """Send a large COPY, of which the server keeps a row for each block."""
    block = copy_block()
    blocks = count // BLOCK_ROWS
    client = RawClient(door, USER)
    client.send_query(f"COPY bulk_in FROM STDIN WHERE id = {BLOCK_ROWS}")
    client.expect(b"G")
    for data in repeat(block, blocks):
        client.socket.sendall(data)
    client.socket.sendall(message(b"c"))
    tag = client.expect(b"C")
    check(tag == f"COPY {blocks}\0".encode(), f"{door.name}: {tag!r} instead of {blocks} rows")
    client.expect(b"Z")
    client.close()


def copy_block() -> bytes:
    """Return the messages of one block of rows; the last of them is the one that is kept."""
    text = "x" * TEXT_BYTES
    rows = (f"{number}\t{text}\n" for number in range(1, BLOCK_ROWS + 1))
    return b"".join(message(b"d", row.encode()) for row in rows)


def _check_same_bytes(stage: ProxyStage, doors: Mapping[str, Door], count: int) -> None:
    """The warm-up: the result is the server's own to the last bit, and COPY works."""
    sums = {}
    for name, door in doors.items():
        checksum = Checksum()
        with stage.load_for(door):
            fetch(door, count, checksum.add)
            copy_in(door, count)
        sums[name] = checksum.value
    check(len(set(sums.values())) == 1, f"the results differ: {sums}")


@dataclass(slots=True)
class Checksum:
    """CRC-32 of what was added."""

    value: int = 0

    def add(self, data: memoryview) -> None:
        """Take some more bytes in."""
        self.value = zlib.crc32(data, self.value)


def _measured(
    stage: ProxyStage, door: Door, before: int, transfer: Callable[[Door], None]
) -> Transfer:
    reset_peak(door.pids)
    with stage.load_for(door):
        used, start = cpu_time(door.pids), perf_counter()
        transfer(door)
        seconds, cpu = perf_counter() - start, cpu_time(door.pids) - used
    return Transfer(seconds, cpu.total, peak_bytes(door.pids) - before)
