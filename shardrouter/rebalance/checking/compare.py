"""Compare rows on both sides while they are written to: what differs, and what is only in flux.

A marker that was written after the losing side was read, and has arrived before the gaining side
is read, proves that a row which did not change meanwhile must be equal there.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from shardrouter.errors import MoveMismatch
from shardrouter.postgres.moving import (
    Key,
    digest_chunk,
    digest_range,
    hashes_of,
    row_hashes,
    show_rows,
)
from shardrouter.rebalance.copying.catch_up import send_marker
from shardrouter.rebalance.job import Job
from shardrouter.rebalance.sessions import patient
from shardrouter.topology import CUTTING_OVER, ShardId, Table

ROUNDS: Final = 3  # a row that is changed and changed back can look wrong once, not so often
SHOWN: Final = 10
BATCH: Final = 500  # keys in one statement

Hashes = Mapping[Key, int]


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of a chunk."""

    last: Key | None
    """Its upper end; None: the table ends in it."""

    rows: int
    flux: tuple[Key, ...] = ()
    """Rows that changed whenever they were looked at."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What two looks at the losing side, and one at the gaining side between them, tell."""

    wrong: frozenset[Key]
    """They stood still and are different."""

    flux: frozenset[Key]
    """They changed meanwhile and are different."""


def judge(before: Hashes, gaining: Hashes, after: Hashes, keys: Sequence[Key]) -> Verdict:
    """Tell rows that are wrong from rows that are in flux. Pure. A missing row has no hash."""
    wrong: set[Key] = set()
    flux: set[Key] = set()
    for key in keys:
        was, there, now = before.get(key), gaining.get(key), after.get(key)
        if there == now:
            continue
        (wrong if was == now else flux).add(key)
    return Verdict(frozenset(wrong), frozenset(flux))


def compare_chunk(job: Job, table: Table, after: Key | None, limit: int) -> Compared:
    """Compare the next rows of a table. Raises MoveMismatch, showing rows."""
    move, slot_count = job.move, job.topology.slots
    with _reading(job, move.losing) as losing:
        chunk = digest_chunk(losing, table, move.slots, slot_count, after, limit)
    with _reading(job, move.gaining) as gaining:
        there = digest_range(gaining, table, move.slots, slot_count, after, chunk.last_pk)
    if chunk.matches(there):
        return Compared(chunk.last_pk, chunk.rows)
    with _reading(job, move.losing) as losing:
        ours = row_hashes(losing, table, move.slots, slot_count, after, chunk.last_pk)
    with _reading(job, move.gaining) as gaining:
        theirs = row_hashes(gaining, table, move.slots, slot_count, after, chunk.last_pk)
    suspects = sorted(
        key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)
    )
    return Compared(chunk.last_pk, chunk.rows, look_closer(job, table, suspects))


def look_closer(job: Job, table: Table, suspects: Sequence[Key]) -> tuple[Key, ...]:
    """Look at rows again until they are equal; return those that keep changing.

    Raises MoveMismatch for rows that stand still and are different each time.
    """
    wrong: frozenset[Key] = frozenset()
    for _ in range(ROUNDS):
        if not suspects:
            return ()
        before = read_hashes(job, job.move.losing, table, suspects)
        send_marker(job, "comparing")
        gaining = read_hashes(job, job.move.gaining, table, suspects)
        after = read_hashes(job, job.move.losing, table, suspects)
        verdict = judge(before, gaining, after, suspects)
        wrong = verdict.wrong
        suspects = sorted(verdict.wrong | verdict.flux)
    if wrong:
        raise mismatch(job, table, sorted(wrong))
    return tuple(suspects)


def read_hashes(job: Job, shard: ShardId, table: Table, keys: Sequence[Key]) -> dict[Key, int]:
    """Return the hashes of rows on a shard."""
    found: dict[Key, int] = {}
    with _reading(job, shard) as connection:
        for first in range(0, len(keys), BATCH):
            batch = keys[first : first + BATCH]
            found |= hashes_of(connection, table, job.move.slots, job.topology.slots, batch)
    return found


def mismatch(job: Job, table: Table, keys: Sequence[Key]) -> MoveMismatch:
    """Return the error that shows rows which differ."""
    shown = list(keys[:SHOWN])
    sides: list[dict[Key, str]] = []
    for shard in (job.move.losing, job.move.gaining):
        with job.read(shard) as connection:
            sides.append(show_rows(connection, table, job.move.slots, job.topology.slots, shown))
    losing, gaining = sides
    rows = "; ".join(
        f"({', '.join(key)}): {losing.get(key, 'no row')} on {job.move.losing},"
        f" {gaining.get(key, 'no row')} on {job.move.gaining}"
        for key in shown
    )
    return MoveMismatch(
        f"{len(keys)} rows of {table.full_name} differ: {rows}",
        shard=job.move.gaining,
        epoch=job.topology.epoch,
        hint=f"find out who wrote to {job.move.gaining}, then `shardrouter move abort"
        f" {job.move.number}`, or `shardrouter rebalance resume` to compare again",
    )


@contextmanager
def _reading(job: Job, shard: ShardId) -> Iterator[Connection]:
    with job.read(shard) as connection:
        if job.move.state in CUTTING_OVER:  # few rows, and writers wait
            yield connection
        else:
            with patient(connection):
                yield connection
