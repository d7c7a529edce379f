"""Delete a copy of the slots' rows on a shard that does not own them, paced."""

import logging
from typing import Final

from shardrouter.errors import MoveError
from shardrouter.postgres.moving import (
    FIRST_PLACE,
    cleaning_origin,
    cleaning_origin_name,
    delete_slots,
    drop_origin,
    empty_partition,
    has_rows,
    holds_only,
    slot_partitions,
)
from shardrouter.rebalance.copying.throttle import Strain
from shardrouter.rebalance.job import Job
from shardrouter.rebalance.sessions import patient
from shardrouter.topology import ShardId, Table

logger = logging.getLogger(__name__)

ORIGIN: Final = "replication_origin"
REST_SECONDS: Final = 0.1


def delete_copy(job: Job, shard: ShardId, failpoint: str) -> None:
    """Delete every row of the slots on the shard. Repeatable; resting when the shard is strained.

    Invariant: the shard owns none of the slots.
    """
    owners = {job.load().owners[slot] for slot in job.move.slots}
    if shard in owners:
        raise MoveError(
            f"shard {shard} owns slots whose rows were to be deleted",
            shard=shard,
            epoch=job.topology.epoch,
            hint="this is a bug: report it with the journal of the move",
        )
    origin = cleaning_origin_name(job.fleet, job.move.number)
    job.record(shard, ORIGIN, origin)
    with cleaning_origin(job.on(shard), origin):
        for table in job.tables():
            _empty_partitions(job, shard, table, failpoint)
            while _has_rows(job, shard, table):
                if _delete_rows(job, shard, table, failpoint) == 0:
                    raise MoveError(f"rows of {table.full_name} cannot be deleted", shard=shard)


def drop_origins(job: Job) -> None:
    """Drop the names under which copies were deleted."""
    for artefact in job.tools.store.artefacts(job.move.number):
        if artefact.kind == ORIGIN:
            with job.write(artefact.shard) as connection:
                drop_origin(connection, artefact.name)
            job.tools.store.forget_artefact(job.move, artefact)


def _empty_partitions(job: Job, shard: ShardId, table: Table, failpoint: str) -> None:
    """Truncate the partitions that hold nothing else, one at a time: others read the table."""
    slots, slot_count = job.move.slots, job.topology.slots
    with job.read(shard) as connection:
        partitions = slot_partitions(connection, table, slots, slot_count)
    for partition in partitions:
        job.tick()
        with job.read(shard) as connection, patient(connection):
            is_ours = holds_only(connection, partition, table, slots, slot_count)
        with job.write(shard) as connection:
            is_empty = is_ours and empty_partition(connection, partition)
        logger.info(
            "partition_%s move=%d shard=%s partition=%s",
            "emptied" if is_empty else "left_to_deletes", job.move.number, shard, partition,
        )  # fmt: skip
        job.failpoint(failpoint)


def _has_rows(job: Job, shard: ShardId, table: Table) -> bool:
    with job.read(shard) as connection, patient(connection):
        return has_rows(connection, table, job.move.slots, job.topology.slots)


def _delete_rows(job: Job, shard: ShardId, table: Table, failpoint: str) -> int:
    """Walk once through the table; return how many rows that deleted."""
    strain, total = Strain(job.clock), 0
    place = FIRST_PLACE
    while True:
        job.tick()
        while reason := strain.look([job.on(shard)], job.settings):
            job.pause(REST_SECONDS, reason)
        with job.write(shard) as connection:
            deleted = delete_slots(
                connection, table, job.move.slots, job.topology.slots,
                job.settings.delete_rows, place,
            )  # fmt: skip
        total += deleted.rows
        job.progress["rows_deleted"] = job.progress.get("rows_deleted", 0) + deleted.rows
        job.failpoint(failpoint)
        if deleted.next is None:
            return total
        place = deleted.next
