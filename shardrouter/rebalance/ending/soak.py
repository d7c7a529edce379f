"""SOAKING: the losing shard's copy follows by the reverse stream, until the time is over."""

import logging
from typing import Final

from shardrouter.postgres.moving import slot_state
from shardrouter.rebalance.copying.streams import drop_streams, from_shard, revive, stream_state
from shardrouter.rebalance.cutover.commit import put_guards
from shardrouter.rebalance.job import Job
from shardrouter.rebalance.preflight import identity
from shardrouter.rebalance.troubles import StreamLost
from shardrouter.topology import Direction, MoveState, ShardId

logger = logging.getLogger(__name__)

MB: Final = 1024 * 1024
LOST: Final = "reverse_lost"
"""The fact that says why the slots cannot be brought back any more."""

LOOK_SECONDS: Final = 0.5


class StillSoaking(Exception):
    """The time is not over and the caller does not want to wait."""


def soak(job: Job, *, wait: bool) -> None:
    """Go on when the time is over. Raises StillSoaking."""
    while True:
        follow_failovers(job)
        look_at_reverse(job)
        left = job.move.soak_seconds - job.age_seconds()
        job.progress["soak_seconds_left"] = max(0.0, left)
        if left <= 0:
            break
        if not wait:
            raise StillSoaking
        job.pause(min(LOOK_SECONDS, left))
    job.failpoint("soaking.over")
    job.progress.pop("soak_seconds_left", None)
    job.advance(MoveState.CLEANING, reason="the time to go back is over")


def lose_reverse(job: Job, reason: str) -> None:
    """Drop the reverse stream, and note why the slots cannot be brought back."""
    logger.warning(
        "move_reverse_lost move=%d epoch=%d reason=%r", job.move.number, job.topology.epoch, reason
    )
    job.note(**{LOST: reason})
    drop_streams(job)


def follow_failovers(job: Job) -> None:
    """After a change of a primary: guards as the topology wants them, and no way back.

    What the old primary had sent or received last, the new one may not have.
    """
    move = job.move
    for shard in (move.losing, move.gaining):
        session = job.session(shard)
        if identity.identity_of(job.facts, shard) == session.identity:
            continue
        put_guards(job, job.load(), shard)
        if LOST not in job.facts:
            lose_reverse(job, f"the primary of {shard} changed to {session.node.id}")
        sessions = job.session(move.source), job.session(move.target)
        job.note(**{identity.FACT: identity.identities_fact(*sessions)})


def look_at_reverse(job: Job) -> None:
    """Drop the reverse stream when it is of no use any more, or keeps too much WAL."""
    if LOST in job.facts:
        return
    try:
        reason = _trouble_of(job, from_shard(job, Direction.BACK))
    except StreamLost as error:
        reason = error.message
    if reason:
        lose_reverse(job, reason)


def _trouble_of(job: Job, shard: ShardId) -> str | None:
    is_enabled = stream_state(job, Direction.BACK).enabled
    with job.read(shard) as connection:
        state = slot_state(connection, job.name(Direction.BACK))
    if not state.exists or state.invalidation is not None:
        return f"its replication slot is {state.invalidation or 'gone'}"
    if not is_enabled and not revive(job, Direction.BACK):
        return "the reverse stream stops at an error"
    job.progress["lag_bytes"] = state.lag_bytes
    if state.retained_bytes > job.settings.max_retained_wal_mb * MB:
        return f"its replication slot keeps {state.retained_bytes // MB} MB of WAL"
    return None
