"""A stream: publication and replication slot on one shard, subscription on the other.

Forward it runs from source to target, back from target to source. Each part is noted in the
catalog before it is made, and dropped by what is noted there: a crash leaves nothing unknown.
"""

import logging
from typing import Final

from sqlalchemy import Connection

from shardrouter.catalog import Artefact
from shardrouter.errors import MoveError
from shardrouter.postgres.moving import (
    QUICK_COMMIT,
    SAFE_COMMIT,
    SubscriptionState,
    commit_quickly,
    copying_workers,
    create_publication,
    create_slot,
    create_subscription,
    disable_subscription,
    drop_publication,
    drop_slot,
    drop_subscription,
    drop_sync_slots,
    empty_publication,
    enable_subscription,
    finished_copies,
    has_portable_types,
    missing_slots,
    server_time,
    statements_since_before,
    subscription_state,
)
from shardrouter.rebalance.job import Job
from shardrouter.rebalance.troubles import StreamLost
from shardrouter.topology import Direction, ShardId

logger = logging.getLogger(__name__)

PUBLICATION: Final = "publication"
SLOT: Final = "replication_slot"
SUBSCRIPTION: Final = "subscription"
SYNC_SLOTS: Final = "sync_slots"
SLOT_SECONDS: Final = 60.0  # a slot is ready when all transactions of its server have ended

REVIVALS: Final = 5
"""A stream that stops so often before a marker arrives runs into an error each time."""

STATEMENT_SECONDS: Final = 2.0
"""A statement that runs for longer has looked at its publications long ago."""

STATEMENT_POLL_SECONDS: Final = 0.02

_ORDER: Final = (SUBSCRIPTION, SYNC_SLOTS, SLOT, PUBLICATION)
"""In which the parts are dropped: nothing is dropped that another part still uses."""


def from_shard(job: Job, direction: Direction) -> ShardId:
    """Return the shard that a stream comes from."""
    return job.move.source if direction is Direction.FORWARD else job.move.target


def to_shard(job: Job, direction: Direction) -> ShardId:
    """Return the shard that a stream goes to."""
    return job.move.target if direction is Direction.FORWARD else job.move.source


def make_publication(job: Job, direction: Direction) -> None:
    """Publish the rows of the slots; no effect when they are."""
    shard, name, move = from_shard(job, direction), job.name(direction), job.move
    job.record(shard, PUBLICATION, name)
    with job.write(shard) as connection:
        create_publication(
            connection, name, job.tables(), move.slots, job.topology.slots,
            move=move.number, attempt=move.attempt, direction=direction,
        )  # fmt: skip


def make_slot(job: Job, direction: Direction) -> None:
    """Make the replication slot; no effect when it is there. Raises LockTimeout."""
    shard, name, move = from_shard(job, direction), job.name(direction), job.move
    job.record(shard, SLOT, name)
    job.failpoint("preparing.slot_recorded")
    create_slot(job.on(shard), name, move=move.number, token=move.token, wait_seconds=SLOT_SECONDS)


def make_subscription(job: Job, direction: Direction, *, copy_data: bool, enabled: bool) -> None:
    """Subscribe; no effect when that was done. Notes how the slots of first copies are named."""
    shard, name = to_shard(job, direction), job.name(direction)
    publisher = job.session(from_shard(job, direction))
    job.record(shard, SUBSCRIPTION, name)
    with job.write(shard) as connection:
        oid = create_subscription(
            connection, name, publisher.node.dsn, name, name, copy_data=copy_data, enabled=enabled,
            binary=all(has_portable_types(connection, table) for table in job.tables()),
            synchronous_commit=_synchronous_commit(connection, copy_data=copy_data),
        )  # fmt: skip
    if copy_data:
        _record_sync_slots(job, publisher.shard, shard, oid)


def _synchronous_commit(connection: Connection, *, copy_data: bool) -> str:
    """A target with synchronous standbys must have them before it tells that rows arrived."""
    query = "SELECT pg_catalog.current_setting('synchronous_standby_names')"
    if connection.exec_driver_sql(query).scalar_one():
        return "on"
    return SAFE_COMMIT if copy_data else QUICK_COMMIT


def end_first_copies(job: Job) -> None:
    """Have the stream catch up without waiting for the disk, now that every table is copied."""
    with job.write(job.move.target) as connection:
        commit_quickly(connection, job.name(Direction.FORWARD))


def require_first_copies(job: Job, state: SubscriptionState) -> None:
    """Raise StreamLost when a first copy can never end: see ``moving.first_copies``.

    Race: a worker drops its slot a moment before it commits. So it must have ended after its slot
    was missed, and its table must not be in step even then.
    """
    if all(phase != "f" for _, phase in state.tables):
        return
    name, move = job.name(Direction.FORWARD), job.move
    with job.read(move.target) as connection:
        finished = finished_copies(connection, name)
    with job.read(move.source) as connection:
        missing = missing_slots(connection, list(finished))
    if not missing:
        return
    with job.read(move.target) as connection:
        missing -= copying_workers(connection, name)
    with job.read(move.target) as connection:
        finished = finished_copies(connection, name)
    lost = {slot: table for slot, table in finished.items() if slot in missing}
    if not lost:
        return
    tables = ", ".join(sorted(lost.values()))
    raise StreamLost(
        f"the first copy of {tables} cannot end: a crash took back what the shard had committed",
        shard=move.target,
        hint="nothing is to be done: the rows are copied again",
    )


def enable(job: Job, direction: Direction) -> None:
    """Let the stream run; no effect when it does."""
    with job.write(to_shard(job, direction)) as connection:
        enable_subscription(connection, job.name(direction))


def disable(job: Job, direction: Direction) -> None:
    """Stop the stream, and wait for its workers to end."""
    move = job.move
    disable_subscription(
        job.on(to_shard(job, direction)), job.name(direction),
        move=move.number, token=move.token, sleep=job.tools.sleep,
    )  # fmt: skip


def revive(job: Job, direction: Direction) -> bool:
    """Enable a stream that disabled itself; False when that was done too often in a row."""
    if job.revivals >= REVIVALS:
        return False
    job.revivals += 1
    logger.warning(
        "move_stream_revived move=%d shard=%s epoch=%d times=%d",
        job.move.number, to_shard(job, direction), job.topology.epoch, job.revivals,
    )  # fmt: skip
    enable(job, direction)
    return True


def stream_state(job: Job, direction: Direction) -> SubscriptionState:
    """Return how the stream runs. Raises StreamLost when it is not there."""
    with job.read(to_shard(job, direction)) as connection:
        found = subscription_state(connection, job.name(direction))
    if found is None:
        raise StreamLost(
            f"the subscription {job.name(direction)} is gone", shard=to_shard(job, direction)
        )
    return found


def drop_streams(job: Job, direction: Direction | None = None) -> None:
    """Drop what was noted of streams, of one direction or of all."""
    for kind in _ORDER:  # listed anew: dropping a subscription may note slots of first copies
        for artefact in job.tools.store.artefacts(job.move.number):
            if artefact.kind == kind and _is_of(job, artefact, direction):
                job.tick()
                _drop(job, artefact)
                job.tools.store.forget_artefact(job.move, artefact)


def _is_of(job: Job, artefact: Artefact, direction: Direction | None) -> bool:
    if direction is None or artefact.name == job.name(direction):
        return True
    return artefact.kind == SYNC_SLOTS and artefact.shard == from_shard(job, direction)


def _drop(job: Job, artefact: Artefact) -> None:
    move, name = job.move, artefact.name
    match artefact.kind:
        case "subscription":
            _drop_subscription(job, artefact)
        case "sync_slots":
            oid, _, system_id = name.partition(":")
            with job.write(artefact.shard) as connection:
                drop_sync_slots(connection, int(oid), system_id)
        case "replication_slot":
            drop_slot(
                job.on(artefact.shard), name,
                move=move.number, token=move.token, sleep=job.tools.sleep,
            )  # fmt: skip
        case "publication":
            _drop_publication(job, artefact)
        case _:
            raise MoveError(f"no way is known to drop a {artefact.kind}")


def _drop_publication(job: Job, artefact: Artefact) -> None:
    """Drop it when no statement looks at it any more: see ``empty_publication``."""
    shard, name = artefact.shard, artefact.name
    with job.write(shard) as connection:
        is_emptied = empty_publication(connection, name)
    if is_emptied:
        with job.read(shard) as connection:
            now = server_time(connection)

        def have_ended() -> bool:
            with job.read(shard) as connection:
                return not statements_since_before(connection, now)

        job.await_that(
            have_ended,
            poll_seconds=STATEMENT_POLL_SECONDS,
            deadline_seconds=STATEMENT_SECONDS,
            waits_for="statements that began before",
        )
    with job.write(shard) as connection:
        drop_publication(connection, name)


def _drop_subscription(job: Job, artefact: Artefact) -> None:
    """Crash: its maker may have died before it noted the slots of first copies."""
    with job.read(artefact.shard) as connection:
        found = subscription_state(connection, artefact.name)
    if found is None:
        return
    if artefact.name == job.name(Direction.FORWARD):
        _record_sync_slots(job, job.move.source, job.move.target, found.id)
    with job.write(artefact.shard) as connection:
        drop_subscription(connection, artefact.name)


def _record_sync_slots(job: Job, publisher: ShardId, subscriber: ShardId, oid: int) -> None:
    system_id = job.session(subscriber).identity.system_id
    job.record(publisher, SYNC_SLOTS, f"{oid}:{system_id}")
