"""VERIFYING: compare all rows of the slots, chunk by chunk, while the stream runs."""

from typing import Final

from shardrouter.errors import MoveMismatch
from shardrouter.postgres.moving import ForeignKey, Key, foreign_keys, orphans
from shardrouter.rebalance.checking.compare import compare_chunk, look_closer
from shardrouter.rebalance.cutover.flux import FLUX, flux_of, has_too_many, with_flux
from shardrouter.rebalance.job import Job
from shardrouter.rebalance.sessions import patient
from shardrouter.topology import MoveState, ShardId, Table

VERIFY: Final = "verify"
"""The fact that says how far the comparison is: number of the table, key, rows."""

NOTE_EVERY_SECONDS: Final = 2.0


def verify(job: Job) -> None:
    """Compare, from where an earlier process came to. Raises MoveMismatch."""
    number, after, rows = _place(job)
    tables = job.tables()
    while number < len(tables):
        after, rows = _verify_table(job, number, tables[number], after, rows)
        number += 1
    _settle_flux(job)
    for key in _foreign_keys(job):
        _require_parents(job, key)
    job.failpoint("verifying.verified")
    job.advance(MoveState.READY, reason=f"{rows} rows are equal on both sides")


def _place(job: Job) -> tuple[int, Key | None, int]:
    found = job.facts.get(VERIFY) or {}
    after = found.get("after")
    return int(found.get("table", 0)), None if after is None else tuple(after), found.get("rows", 0)


def _verify_table(
    job: Job, number: int, table: Table, after: Key | None, rows: int
) -> tuple[None, int]:
    """Compare one table to its end; return where the next one begins, and rows so far."""
    flux = dict(job.facts.get(FLUX, {}))
    noted_at = job.clock()
    while True:
        job.tick()
        chunk = compare_chunk(job, table, after, job.settings.verify_rows)
        rows, after = rows + chunk.rows, chunk.last
        flux = with_flux({FLUX: flux}, table, chunk.flux)
        job.progress["rows_verified"] = rows
        place = {"table": number, "after": after, "rows": rows}
        if after is None:
            place = {"table": number + 1, "after": None, "rows": rows}
        if after is None or chunk.flux or job.clock() - noted_at > NOTE_EVERY_SECONDS:
            job.note(**{VERIFY: place, FLUX: flux})
            noted_at = job.clock()
        job.failpoint("verifying.chunk")
        if after is None:
            return None, rows


def _settle_flux(job: Job) -> None:
    """Look again at what was in flux, so that little is left for when writers wait."""
    while True:
        flux: dict[str, list[list[str]]] = {}
        for table in job.tables():
            left = look_closer(job, table, flux_of(job.facts, table))
            flux = with_flux({FLUX: flux}, table, left)
        if not has_too_many(flux):
            break
        job.pause(1.0, "rows that change whenever they are compared")
    job.note(**{FLUX: flux})


def _foreign_keys(job: Job) -> list[ForeignKey]:
    with job.read(job.move.gaining) as connection:
        return foreign_keys(connection, job.tables())


def _require_parents(job: Job, key: ForeignKey) -> None:
    """Replication asks no foreign keys: rows without their parent are found here.

    Rows that have none on the losing shard either were so before.
    """
    lonely = _orphans(job, job.move.gaining, key)
    if not lonely:
        return
    new = sorted(set(lonely) - set(_orphans(job, job.move.losing, key)))
    if new:
        raise MoveMismatch(
            f"rows of {key.table.full_name} have no parent by {key.name}: {new}",
            shard=job.move.gaining,
            epoch=job.topology.epoch,
            hint=f"compare {key.parent} on both shards; a reference table must be the same on all",
        )


def _orphans(job: Job, shard: ShardId, key: ForeignKey) -> list[Key]:
    with job.read(shard) as connection, patient(connection):
        return orphans(connection, key, job.move.slots, job.topology.slots)
